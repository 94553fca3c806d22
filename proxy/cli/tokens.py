"""``countersign tokens``: what the token store holds, without showing a token."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from proxy.admin.status import date
from proxy.app import App
from proxy.cli import Group, aligned, config_option, echo, told
from proxy.cli._settings import load_settings
from proxy.cli.run import run_loop
from proxy.errors import ConfigError, CountersignError, StoreError
from proxy.log import Log
from proxy.mistakes import nearest
from proxy.stores import Token
from proxy.tokens.source import TokenSource

_DIGEST = re.compile(r"-[0-9a-f]{12}\Z")  # what follows a credential's name in a store


@dataclass(frozen=True, slots=True)
class Entry:
    """What a store has under a name, or could have.

    Attributes:
        credential: whose it is, as far as its name tells.
        name: in the store; empty if it has none there.
        token: None if there is none, or it can't be read.
        note: what else there is to know, empty if nothing.

    """

    credential: str
    name: str
    token: Token | None
    note: str = ""

    def shown(self, now: float) -> dict[str, Any]:  # Any: JSON
        """Return all that may be shown, as JSON; `now` in epoch seconds."""
        token = self.token
        facts: dict[str, Any] = {"credential": self.credential, "name": self.name or None, "note": self.note or None}
        if token is None:
            return facts | {"token": None}
        return facts | {
            "token": {
                "fingerprint": token.fingerprint,
                "type": token.token_type,
                "scope": token.scope,
                "obtained_at": date(token.obtained_at) if token.obtained_at else None,
                "expires_at": None if token.expires_at is None else date(token.expires_at),
                "expired": token.expires_at is not None and token.expires_at <= now,
                "refresh_token": token.refresh_token is not None,
            }
        }


class Keeper:
    """The store of a configuration, and the credentials whose tokens are in it.

    Attributes:
        sources: of the credentials that have tokens, by their names.

    """

    def __init__(self, app: App) -> None:
        inline = (f"routes.{name}" for name in app.settings.routes)
        schemes = {name: app.scheme(name) for name in (*app.settings.credentials, *inline)}
        self.store, self.clock = app.store, app.clock
        self.sources = {name: scheme.source for name, scheme in schemes.items() if scheme and scheme.source}
        self._known = [name for name, scheme in schemes.items() if scheme]

    async def entries(self, credential: str | None = None) -> list[Entry]:
        """Return what there is of one credential, or of all.

        Raises:
            ConfigError: there is no such credential, or it has no tokens.
            StoreError: the store can't be read.

        """
        found = [await self._entry(name) for name in await self.store.names()]
        kept = {entry.name for entry in found}
        for name, source in self.sources.items():
            try:
                if await source.key() not in kept:
                    found.append(Entry(name, "", None, "no token yet"))
            except CountersignError as failure:
                found.append(Entry(name, "", None, str(failure)))
        if credential is None:
            return found
        self.check(credential, found)
        return [entry for entry in found if entry.credential == credential]

    async def _entry(self, name: str) -> Entry:
        credential = _DIGEST.sub("", name)
        try:
            return Entry(credential, name, await self.store.load(name), await self._use(credential, name))
        except StoreError as failure:
            return Entry(credential, name, None, str(failure))

    async def _use(self, credential: str, name: str) -> str:
        source = self.sources.get(credential)
        if source is None:
            return "of no credential in this configuration"
        try:
            return "" if await source.key() == name else "of another configuration of this credential"
        except CountersignError as failure:
            return str(failure)

    def check(self, credential: str, entries: list[Entry]) -> None:
        """Refuse a credential that has no tokens.

        Raises:
            ConfigError: it has none.

        """
        if credential in {entry.credential for entry in entries}:
            return
        what = "has no tokens to keep" if credential in self._known else "does not exist"
        right = nearest(credential, sorted({entry.credential for entry in entries} | self.sources.keys()))
        raise ConfigError(f"credential {credential} {what}; right would be {right}")

    def source(self, credential: str) -> TokenSource:
        """Return where a credential's tokens come from.

        Raises:
            ConfigError: it has none.

        """
        self.check(credential, [Entry(name, "", None) for name in self.sources])
        return self.sources[credential]


@asynccontextmanager
async def opened(config: Path | None) -> AsyncIterator[Keeper]:
    """Open the store of a configuration.

    Raises:
        CountersignError: it can't be had, or nobody else could see it.

    """
    settings = load_settings(config)
    if settings.tokens.store == "memory":
        raise ConfigError('tokens.store: "memory" keeps tokens inside of the running proxy; right would be "file"')
    app = App(settings, Log(requests=False))
    await app.open()
    try:
        yield Keeper(app)
    finally:
        await app.aclose()


def _with_store(config: Path | None, work: Callable[[Keeper], Awaitable[int]]) -> None:
    """Let `work` have the store, and exit with what it returns."""
    codes: list[int] = []

    async def main() -> None:
        async with opened(config) as keeper:
            codes.append(await work(keeper))

    run_loop(main())
    sys.exit(codes[0])


_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group("tokens", cls=Group)
def command() -> None:
    """See, renew and forget the tokens that are kept; none is ever shown."""


@command.command("list")
@config_option
@_as_json
@told
def list_(config: Path | None, as_json: bool) -> None:
    """Print a line for each token."""

    async def work(keeper: Keeper) -> int:
        entries = await keeper.entries()
        echo(_json(keeper, entries) if as_json else table(entries, keeper.clock.time()))
        return 0

    _with_store(config, work)


@command.command("show")
@config_option
@_as_json
@click.argument("credential", required=False)
@told
def show(config: Path | None, as_json: bool, credential: str | None) -> None:
    """Print all there is to know of CREDENTIAL's token, or of each; exit with 1 if there is none."""

    async def work(keeper: Keeper) -> int:
        entries = await keeper.entries(credential)
        now = keeper.clock.time()
        echo(_json(keeper, entries) if as_json else "\n\n".join(details(entry, now) for entry in entries))
        return 0 if any(entry.token for entry in entries) else 1

    _with_store(config, work)


@command.command("refresh")
@config_option
@click.argument("credential", required=False)
@told
def refresh(config: Path | None, credential: str | None) -> None:
    """Renew CREDENTIAL's token now, or each; a running proxy takes it up."""

    async def work(keeper: Keeper) -> int:
        wanted = keeper.sources if credential is None else {credential: keeper.source(credential)}
        failures = 0
        for name, source in wanted.items():
            try:
                token = await source.fresh()
            except CountersignError as failure:
                failures += 1
                echo(f"error: {name}: {failure}", err=True)
            else:
                unsaved = source.standing().unsaved
                failures += bool(unsaved)
                echo(f"{name}: {_summary(token)}" if not unsaved else f"error: {name}: {unsaved}", err=bool(unsaved))
        return 1 if failures else 0

    _with_store(config, work)


@command.command("forget")
@config_option
@click.argument("credential", required=False)
@click.option("--all", "everything", is_flag=True, help="Forget every token, those of no credential included.")
@told
def forget(config: Path | None, credential: str | None, everything: bool) -> None:
    """Drop CREDENTIAL's token from the store; the server that gave it is not told."""
    if (credential is None) != everything:
        raise ConfigError("forget: right would be either a CREDENTIAL or --all")

    async def work(keeper: Keeper) -> int:
        names = [entry.name for entry in await keeper.entries(credential) if entry.name]
        for name in names:
            async with keeper.store.lock(name):  # not in the middle of a renewal, which would bring it back
                await keeper.store.forget(name)
            echo(f"forgotten: {name}")
        if not names:
            echo("there was nothing to forget", err=True)
        return 0

    _with_store(config, work)


# -- how it looks ------------------------------------------------------------------------------------------


def table(entries: list[Entry], now: float) -> str:
    """Return the entries as a table; `now` in epoch seconds."""
    rows = [("CREDENTIAL", "TOKEN", "EXPIRES", "SCOPE", "REFRESH TOKEN", "NOTE")]
    for entry in entries:
        token = entry.token
        cells = ("-", "-", "-", "-")
        if token is not None:
            refresh_token = "yes" if token.refresh_token else "no"
            cells = (token.fingerprint, _expiry(token, now), token.scope or "-", refresh_token)
        rows.append((entry.credential, *cells, entry.note))
    return aligned(rows)


def details(entry: Entry, now: float) -> str:
    """Return a line for each fact of an entry; `now` in epoch seconds."""
    facts = entry.shown(now)
    facts |= facts.pop("token") or {"token": "none"}
    lines = [(key.replace("_", " "), _said(value)) for key, value in facts.items() if value is not None]
    return aligned(lines)


def _said(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _expiry(token: Token, now: float) -> str:
    if token.expires_at is None:
        return "unknown"
    return date(token.expires_at) + (" (over)" if token.expires_at <= now else "")


def _summary(token: Token) -> str:
    expiry = "" if token.expires_at is None else f", expires {date(token.expires_at)}"
    return f"token {token.fingerprint}{expiry}" + (f", scope {token.scope}" if token.scope else "")


def _json(keeper: Keeper, entries: list[Entry]) -> str:
    now = keeper.clock.time()
    return json.dumps({"tokens": [entry.shown(now) for entry in entries]}, indent=2)
