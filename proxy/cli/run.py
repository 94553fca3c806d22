"""``countersign run``: serve until told to stop."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from proxy import dumps, files
from proxy.admin.status import matches
from proxy.app import App
from proxy.cli import config_option, in_colour, told
from proxy.config import Settings, load
from proxy.errors import ConfigError
from proxy.gateway.server import require_parser
from proxy.layers import Table
from proxy.life import exposures, serve_until_signal, to_the_end, warn_early
from proxy.lines import say, stderr
from proxy.listeners import kind
from proxy.log import Format, Log
from proxy.places import own

_REFERENCES = "env:NAME, file:PATH, keyring:SERVICE/USER or cmd:COMMAND"


def reference(text: str) -> Table:
    """Return the secret table that a REF on the command line means.

    Raises:
        ConfigError: it is none; it is not repeated, since it may be the secret itself.

    """
    kind, _, rest = text.partition(":")
    table: Table = {}
    if rest:
        match kind:
            case "env" | "file":
                table = {kind: rest}
            case "cmd":
                table = {"command": _words(rest)}
            case "keyring":
                service, _, user = rest.rpartition("/")
                if not service or not user:
                    raise ConfigError("keyring: right would be keyring:SERVICE/USER")
                table = {"keyring": service, "username": user}
    if not table:
        raise ConfigError(f"a secret on the command line would stand in the process list; right would be {_REFERENCES}")
    return table


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        raise ConfigError("cmd: has a quote without its end; right would be cmd:'pass show api'") from None


def settings_of_flags(
    to: str, bearer: str | None, basic: str | None, headers: tuple[str, ...], queries: tuple[str, ...]
) -> Table:
    """Return the configuration that ``run --to`` means, as a file would have it.

    Raises:
        ConfigError: the flags don't go together.

    """
    if (bearer is not None) + (basic is not None) + len(headers) + len(queries) > 1:
        raise ConfigError("--bearer, --basic, --header and --query exclude each other; right would be one, or a file")
    credential: Table = {"type": "none"}
    if bearer is not None:
        credential = {"type": "bearer", "token": reference(bearer)}
    elif basic is not None:
        user, colon, secret = basic.partition(":")
        if not colon:
            raise ConfigError(f"--basic: right would be USER:REF, where REF is {_REFERENCES}")
        credential = {"type": "basic", "username": user, "password": reference(secret)}
    elif headers:
        credential = {"type": "api_key", "in": "header", **_pair("--header", headers[0], ":")}
    elif queries:
        credential = {"type": "api_key", "in": "query", **_pair("--query", queries[0], "=")}
    return {"routes": {"default": {"prefix": "/", "upstream": to, "credential": credential}}}


def settings_of_addresses(listen: tuple[str, ...], admin: str | None) -> Table:
    """Return the configuration that ``--listen`` and ``--admin`` mean, as a file would have it."""
    server: Table = {"listen": list(listen)} if listen else {}
    if admin is not None:
        server["admin"] = "" if admin == "none" else admin
    return {"server": server} if server else {}


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
@click.option(
    "--admin", metavar="ADDRESS", help='The admin listener, in place of the configured one; "" or none for none.'
)
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
    admin: str | None,
    log_format: Format,
    access_log: bool,
) -> None:
    """Serve until SIGTERM or SIGINT.

    A REF names a secret, so that none stands in the process list: env:NAME, file:PATH,
    keyring:SERVICE/USER or cmd:COMMAND.
    """
    require_parser()
    overrides = settings_of_addresses(listen, admin)
    if to is not None:
        if config is not None:
            raise ConfigError("--to needs no file; right would be --config or --to, not both")
        overrides |= settings_of_flags(to, bearer, basic, headers, queries)
    elif bearer is not None or basic is not None or headers or queries:
        raise ConfigError("--bearer, --basic, --header and --query belong to --to; right would be --to URL, too")

    def reread() -> Settings:
        return load(config, overrides, use_file=to is None)

    log = Log(stderr(), form=log_format, colours=in_colour(), requests=access_log)
    settings = reread()
    for text in exposures(settings, config, use_file=to is None):
        log.warning(text)
    if settings.server.workers == 1:
        run_loop(to_the_end(serve(App(settings, log, reread=reread), log)))
    else:
        supervise(settings, log, reread)


def supervise(settings: Settings, log: Log, reread: Callable[[], Settings]) -> None:
    """Serve with several processes until a signal ends them.

    Raises:
        CountersignError: they could not start.

    """
    if not hasattr(os, "fork"):
        raise ConfigError("server.workers: this system can't fork processes; right would be 1")
    # Here, since they are not for every system, and few need them.
    from proxy.workers.supervisor import Supervisor
    from proxy.workers.worker import Assignment, Worker

    _loop_factory()  # imported once, for all of them
    if not settings.server.dumpable:
        dumps.forbid()

    def work(assignment: Assignment) -> None:
        run_loop(to_the_end(Worker(assignment, log).run()))

    files.raise_limit()  # it holds the sockets of all of them
    log.take_over_stdlib()
    Supervisor(settings, log, reread=reread, work=work, announce=announce).run()


def run_loop(main: Coroutine[Any, Any, None]) -> None:  # Any: what it yields and is sent
    """Run `main` on uvloop where there is one, with as many files as it may have open."""
    files.raise_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def serve(app: App, log: Log, guide: Callable[[str], None] = lambda url: None) -> None:  # noqa: ARG005
    """Start `app`, say so, and serve until a signal ends it.

    Args:
        app: what serves.
        log: where its warnings go.
        guide: told the first address, once it is open.

    Raises:
        CountersignError: it could not start.

    """
    log.take_over_stdlib()
    if not app.settings.server.dumpable:
        dumps.forbid()
    await app.start()

    def ready() -> None:
        announce(app.settings, app.addresses, app.status_url)
        guide(app.addresses[0])

    # Beside the serving: a secret's command may take its time, and signals must not wait for it.
    warning = asyncio.create_task(warn_early(app.settings, log), name="secrets")
    try:
        await serve_until_signal(app, ready)
    finally:
        warning.cancel()
        with suppress(asyncio.CancelledError):
            await warning


def announce(settings: Settings, addresses: Sequence[str], status_url: str | None) -> None:
    """Say what was read, where it listens, which routes there are and where the status page is."""
    lines = [f"configuration: {', '.join(settings.sources)}"] if settings.sources else []
    lines += [f"listening on {address}" for address in addresses]
    configured = [*settings.server.listen, *own(settings)]
    lines += [f"open to other machines: {address}" for address in configured if not kind(address).is_local(address)]
    width = max(map(len, settings.routes))
    lines += [f"  {name:<{width}}  {matches(route)} -> {route.upstream}" for name, route in settings.routes.items()]
    if status_url:
        lines.append(f"status page: {status_url}")
    say("\n".join(lines))
