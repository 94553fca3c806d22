"""``countersign check``: is the configuration right, can every secret be had, does it work."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from proxy import USER_AGENT
from proxy.admin import credential_name, credential_proxy, problem
from proxy.admin.status import matches
from proxy.app import App
from proxy.cli import aligned, config_option, echo, told
from proxy.cli._settings import load_settings
from proxy.cli.run import run_loop
from proxy.config import Settings
from proxy.errors import ConfigError, CountersignError
from proxy.gateway import Entrance, Inbound, Story
from proxy.gateway.headers import read
from proxy.gateway.route import Route
from proxy.gateway.server import require_parser
from proxy.life import exposures, ignored
from proxy.log import Log
from proxy.mistakes import dotted, nearest
from proxy.transport.origin import socket_of
from proxy.transport.outgoing import NONE, shown

PATIENCE = 20.0  # seconds for each route
_DENIED = "http_request_denied"  # the route's own policy does not allow the request, which is no fault
_REFUSED = (401, 407)  # the credential; others may mean anything
_PATH = re.compile(r"/[!-\"$-~]*")  # printable ASCII without a fragment
_SENTENCES = {
    401: "refused the credential",
    403: "forbidden: the credential may lack a right, such as a scope, or the API wants more than it; try --path",
    404: "nothing is there, which says nothing of the credential; try --path",
    405: "GET is not allowed there, which says nothing of the credential; try --path",
    407: "a proxy on the way refused its credential",
    429: "the API throttles; try again later",
}
_CLASSES = {
    2: "accepted",
    3: "redirects, which is not followed: a login page, or another address of the API; try --path",
    4: "refused the request, which says nothing of the credential; try --path",
    5: "the API failed, which says nothing of the credential",
}


@dataclass(slots=True)
class Row:
    """What is told of a route.

    Attributes:
        scope: what its token may do, if it has one and the server said so.
        expires_in: seconds that the token lives from now on, if that is known.
        proxy: the outgoing proxy that leads to the upstream, if one does.
        credential_proxy: the same of what the credential requests; None if it requests nothing.

    """

    route: str
    matches: str
    upstream: str
    credential: str
    result: str = ""
    ok: bool = True
    scope: str | None = None
    expires_in: int | None = None
    proxy: str | None = None
    credential_proxy: str | None = None


@click.command("check")
@config_option
@click.option("--live", is_flag=True, help="Also fetch each token and call each upstream once (GET of its base).")
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="[ROUTE=]/PATH",
    help="What --live asks for, such as /user: below the prefix of each route, or of one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@told
def command(config: Path | None, live: bool, paths: tuple[str, ...], as_json: bool) -> None:
    """Validate the configuration and resolve every secret, without printing any.

    The exit code is 1 if a secret or a token can't be had, or with --live if an API can't be
    reached or refuses the credential (401); and 2 if the configuration is wrong.
    """
    if paths and not live:
        raise ConfigError("--path belongs to --live; expected --live, too")
    settings = load_settings(config)
    asked = asked_paths(paths, settings)
    rows: list[Row] = []
    missing: list[str] = []

    async def main() -> None:
        missing.extend(await unresolved(settings))
        rows.extend(await checked(settings, live=live, paths=asked))

    run_loop(main())
    if as_json:
        told_rows = [asdict(row) for row in rows]
        echo(json.dumps({"files": settings.sources, "routes": told_rows, "secrets": missing}, indent=2))
    else:
        echo(table(rows))
    echo(f"configuration: {', '.join(settings.sources)}", err=True)
    for text in (*ignored(settings), *exposures(settings), *ambiguous(settings)):
        echo(f"warning: {text}", err=True)
    try:
        require_parser()
    except ConfigError as failure:
        echo(f"warning: {failure}", err=True)
    for text in missing:
        echo(f"error: {text}", err=True)
    sys.exit(1 if missing or not all(row.ok for row in rows) else 0)


def ambiguous(settings: Settings) -> Iterator[str]:
    """Yield a warning for each plain upstream whose name stands for two addresses of this machine."""
    for name, route in settings.routes.items():
        url = route.upstream
        if url.scheme == "http" and socket_of(url) is None and f".{url.host}".endswith(".localhost"):
            key = dotted(("routes", name, "upstream"))
            yield (
                f"{key}: {url.host} may be 127.0.0.1 or [::1], and another user may listen on one of them; "
                "expected the one that is meant"
            )


def asked_paths(given: Sequence[str], settings: Settings) -> dict[str, str]:
    """Return the path for each route that ``--path`` means.

    Raises:
        ConfigError: one is no path, or names no route.

    """
    found = dict.fromkeys(settings.routes, "/")
    for text in sorted(given, key=lambda text: not text.startswith("/")):  # those for one route outdo those for all
        name, mark, path = text.partition("=/") if not text.startswith("/") else ("", "", text[1:])
        if bool(name) != bool(mark) or not _PATH.fullmatch(f"/{path}"):
            raise ConfigError("--path: expected /PATH, or ROUTE=/PATH")
        if name and name not in settings.routes:
            raise ConfigError(f"--path: no such route; expected {nearest(name, settings.routes)}")
        found |= dict.fromkeys([name] if name else settings.routes, f"/{path}")
    return found


async def unresolved(settings: Settings) -> list[str]:
    """Return what keeps secrets from being had, and keys from being keys."""
    problems: dict[tuple[str, ...], str] = {}
    secrets = ((path, source.get) for path, source in settings.secrets())
    for path, value in (*secrets, *settings.signing_keys()):
        if path not in problems:
            try:
                await value()
            except CountersignError as failure:
                problems[path] = f"{dotted(path)}: {failure}"
    return list(problems.values())


async def checked(settings: Settings, *, live: bool, paths: Mapping[str, str] | None = None) -> list[Row]:
    """Return a row for each route.

    Args:
        settings: the configuration.
        live: whether token endpoints and upstreams are asked.
        paths: what upstreams are asked for, by route; ``/`` by default.

    """
    app = App(settings, Log(requests=False))
    await app.open()
    try:
        rows = [_row(route) for route in app.routes]
        if live:
            wanted = {route.name: "/" for route in app.routes} | dict(paths or {})
            pairs = zip(app.routes, rows, strict=True)
            await asyncio.gather(*(_try(app, route, row, wanted[route.name]) for route, row in pairs))
        return rows
    finally:
        await app.aclose()


def _row(route: Route) -> Row:
    proxy = route.exchange.upstream.proxy
    return Row(
        route.name,
        matches(route.settings),
        str(route.settings.upstream),
        credential_name(route),
        proxy=None if proxy is None else shown(proxy),
        credential_proxy=credential_proxy(route),
    )


async def _try(app: App, route: Route, row: Row, path: str) -> None:
    """Fetch the credential, and send one GET to the upstream."""
    found = await problem(route)
    if found is not None:
        row.result, row.ok = f"credential: {found.text}", False
        return
    story = Story("GET", path, app.clock.monotonic())
    target = (route.prefix or b"") + path.encode()
    host = route.settings.host or "localhost"
    entrance = Entrance(route.settings.listen or "")
    fields = [(b"Host", host.encode()), (b"User-Agent", USER_AGENT.encode()), (b"Accept", b"*/*")]
    inbound = Inbound("GET", target, read(fields), (1, 1), entrance, story)
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await app.answer(inbound)
    except TimeoutError:
        row.result, row.ok = f"no answer within {PATIENCE:.0f} s", False
        return
    await answer.aclose()
    expiry = route.scheme.expires_at()
    row.scope, row.expires_in = route.scheme.scope, None if expiry is None else round(expiry - app.clock.time())
    row.result = _verdict(answer.status, story)
    row.ok = answer.status not in _REFUSED if not story.error else story.error == _DENIED


def _verdict(status: int, story: Story) -> str:
    if story.error == _DENIED:
        return f"not called: {story.failure}"
    if story.error:
        return f"{story.error}: {story.failure}"
    notes = f" ({'; '.join(story.notes)})" if story.notes else ""
    sentence = _SENTENCES.get(status) or _CLASSES.get(status // 100, "")
    return f"{status} {sentence}{notes}".rstrip()


def _token(row: Row) -> str:
    facts = [f"scope {row.scope}"] if row.scope else []
    if row.expires_in is not None:
        facts.append(f"expires in {lasting(row.expires_in)}")
    return f"; token: {', '.join(facts)}" if facts else ""


def lasting(seconds: int) -> str:
    """Return how long it is, for people: in the largest unit of which there are two or more."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def table(rows: Sequence[Row]) -> str:
    """Return the rows aligned, under a head; a column in which nothing stands is left out."""
    cells = [("ROUTE", "MATCHES", "UPSTREAM", "CREDENTIAL", "PROXY", "RESULT")]
    cells += [
        (row.route, row.matches, row.upstream, row.credential, _proxies(row), row.result + _token(row)) for row in rows
    ]
    columns = [column for column in zip(*cells, strict=True) if any(column[1:])]
    return aligned(list(zip(*columns, strict=True)))


def _proxies(row: Row) -> str:
    """Return the outgoing proxies of a row, empty if there are none."""
    own, credentials = row.proxy or NONE, row.credential_proxy
    if credentials in (None, own):
        return row.proxy or ""
    return f"{own}; credential: {credentials}"
