"""``countersign run``: serve until told to stop."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.admin.status import matches
from proxy.app import App
from proxy.cli import config_option, told
from proxy.config import Settings, Table, load
from proxy.errors import ConfigError, CountersignError
from proxy.log import Format, Log

_REFERENCES = "env:NAME, file:PATH, keyring:SERVICE/USER or cmd:COMMAND"


def reference(text: str) -> Table:
    """Return the secret table that a REF on the command line means.

    Raises:
        ConfigError: it is none; it is not repeated, since it may be the secret itself.

    """
    kind, colon, rest = text.partition(":")
    if colon and rest:
        match kind:
            case "env" | "file":
                return {kind: rest}
            case "cmd":
                return {"command": shlex.split(rest)}
            case "keyring":
                service, _, user = rest.partition("/")
                return {"keyring": service, "username": user}
    raise ConfigError(f"a secret on the command line would stand in the process list; right would be {_REFERENCES}")


def settings_of_flags(
    to: str, bearer: str | None, basic: str | None, headers: tuple[str, ...], queries: tuple[str, ...]
) -> Table:
    """Return the configuration that ``run --to`` means, as a file would have it.

    Raises:
        ConfigError: the flags don't go together.

    """
    if sum(map(bool, (bearer, basic, headers, queries))) > 1 or len(headers) > 1 or len(queries) > 1:
        raise ConfigError("--bearer, --basic, --header and --query exclude each other; a file can do more")
    credential: Table = {"type": "none"}
    if bearer:
        credential = {"type": "bearer", "token": reference(bearer)}
    elif basic:
        user, colon, secret = basic.partition(":")
        if not colon:
            raise ConfigError(f"--basic: right would be USER:REF, where REF is {_REFERENCES}")
        credential = {"type": "basic", "username": user, "password": reference(secret)}
    elif headers:
        credential = {"type": "api_key", "in": "header", **_pair("--header", headers[0], ":")}
    elif queries:
        credential = {"type": "api_key", "in": "query", **_pair("--query", queries[0], "=")}
    return {"routes": {"default": {"prefix": "/", "upstream": to, "credential": credential}}}


def _pair(flag: str, text: str, separator: str) -> Table:
    name, found, secret = text.partition(separator)
    if not found:
        raise ConfigError(f"{flag}: right would be NAME{separator}REF, where REF is {_REFERENCES}")
    return {"name": name.strip(), "value": reference(secret.strip())}


@click.command("run")
@config_option
@click.option("--to", metavar="URL", help="Forward everything to URL; no file is read.")
@click.option("--bearer", metavar="REF", help="Add a bearer token.")
@click.option("--basic", metavar="USER:REF", help="Add user name and password.")
@click.option("--header", "headers", metavar="'NAME: REF'", multiple=True, help="Add a key in a header field.")
@click.option("--query", "queries", metavar="NAME=REF", multiple=True, help="Add a key in the query.")
@click.option("--listen", multiple=True, metavar="ADDRESS", help="Listen here, in place of what is configured.")
@click.option("--log-format", "log_format", type=click.Choice(["auto", "human", "json"]), default="auto")
@click.option("--access-log/--no-access-log", default=True, help="A line for each request.")
@told
def command(
    config: Path | None,
    to: str | None,
    bearer: str | None,
    basic: str | None,
    headers: tuple[str, ...],
    queries: tuple[str, ...],
    listen: tuple[str, ...],
    log_format: Format,
    access_log: bool,
) -> None:
    """Serve until SIGTERM or SIGINT.

    A REF names a secret, so that none stands in the process list: env:NAME, file:PATH,
    keyring:SERVICE/USER or cmd:COMMAND.
    """
    overrides: Table = {"server": {"listen": list(listen)}} if listen else {}
    if to:
        if config is not None:
            raise ConfigError("--to needs no file; right would be --config or --to, not both")
        overrides |= settings_of_flags(to, bearer, basic, headers, queries)
    elif bearer or basic or headers or queries:
        raise ConfigError("--bearer, --basic, --header and --query belong to --to URL")

    def reread() -> Settings:
        return load(config, overrides, use_file=to is None)

    log = Log(form=log_format, colours="NO_COLOR" not in os.environ, requests=access_log)
    serve(App(reread(), log, reread=reread), log)


def serve(app: App, log: Log, before: Any = None) -> None:  # Any: an async function, for the demo
    """Run the event loop with `app` in it until a signal ends it.

    Raises:
        CountersignError: it could not start.

    """
    log.take_over_stdlib()

    async def main() -> None:
        if before is not None:
            await before()
        await app.start()
        announce(app)
        await warn_of_secrets(app, log)
        await app.serve_until_signal()

    run_loop(main())


def run_loop(main: Any) -> None:  # Any: a coroutine
    """Run `main` on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def announce(app: App) -> None:
    """Say where it listens, which routes there are and where the status page is."""
    lines = [f"listening on {address}" for address in app.addresses]
    width = max(len(route.name) for route in app.routes)
    lines += [f"  {route.name:<{width}}  {matches(route)} -> {route.settings.upstream}" for route in app.routes]
    if app.status_url:
        lines.append(f"status page: {app.status_url}")
    click.echo("\n".join(lines), err=True)


async def warn_of_secrets(app: App, log: Log) -> None:
    """Tell at start what would fail later, without asking any token endpoint."""
    for path, source in app.settings.secrets():
        try:
            await source.get()
        except CountersignError as failure:
            log.warning(f"{path}: {failure}")  # noqa: G004  # this log takes texts
