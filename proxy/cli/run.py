"""``countersign run``: serve until told to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import click

from proxy import dumps, files
from proxy.admin.status import matches
from proxy.app import App
from proxy.cli import config_option, in_colour, told
from proxy.cli._flags import settings_of_addresses, settings_of_flags
from proxy.config import Settings, load, read
from proxy.errors import ConfigError
from proxy.gateway.server import require_parser
from proxy.life import exposures, serve_until_signal, to_the_end, warn_early
from proxy.lines import never_wait, say, stderr
from proxy.listeners import kind
from proxy.log import Format, Level, Log
from proxy.places import own


@click.command("run")
@config_option
@click.option("--to", metavar="URL", help="Forward everything to URL; no file is read.")
@click.option("--bearer", metavar="REF", help="Add a bearer token.")
@click.option("--basic", metavar="USER:REF", help="Add user name and password, see below.")
@click.option(
    "--header", "headers", metavar="'NAME: REF'", multiple=True, help="Add a key in a header field; repeatable."
)
@click.option("--query", "queries", metavar="NAME=REF", multiple=True, help="Add a key in the query; repeatable.")
@click.option("--listen", multiple=True, metavar="ADDRESS", help="Listen here, in place of what is configured.")
@click.option(
    "--admin", metavar="ADDRESS", help='The admin listener, in place of the configured one; "" or none for none.'
)
@click.option("--log-format", "log_format", type=click.Choice(["auto", "human", "json"]), default="auto")
@click.option("--log-level", "log_level", type=click.Choice(get_args(Level)), default="info", help="The least level.")
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
    log_level: Level,
    access_log: bool,
) -> None:
    """Serve until SIGTERM or SIGINT.

    A REF names a secret, so that none stands in the process list: env:NAME, file:PATH,
    keyring:SERVICE/USER or cmd:COMMAND. For --basic, USER is a text without a colon, or a REF
    itself; the password may be empty: me:env:PASS, env:NAME:env:PASS, env:KEY: or me:
    --header and --query combine with each other, and with --bearer or --basic.
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
        return read(config, overrides, use_file=to is None)

    never_wait()
    log = Log(stderr(), form=log_format, colours=in_colour(), requests=access_log, level=log_level)
    settings = load(config, overrides, use_file=to is None)
    for text in exposures(settings):
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
    from proxy.transport import loop  # noqa: F401  # imported once, for all workers
    from proxy.workers.supervisor import Supervisor
    from proxy.workers.worker import Assignment, Worker

    (dumps.allow if settings.server.dumpable else dumps.forbid)()

    def work(assignment: Assignment) -> None:
        run_loop(to_the_end(Worker(assignment, log).run()))

    files.raise_limit()  # it holds the sockets of all of them
    log.take_over_stdlib()
    Supervisor(settings, log, reread=reread, work=work, announce=announce).run()


def run_loop(main: Coroutine[Any, Any, None]) -> None:  # Any: what it yields and is sent
    """Run `main` on uvloop where there is one, with as many files as it may have open."""
    from proxy.transport.loop import Loop  # here, where it is needed: not at every start

    files.raise_limit()
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main)


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
    (dumps.allow if app.settings.server.dumpable else dumps.forbid)()
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
        lines += _status_page(status_url)
    say("\n".join(lines))


def _status_page(url: str) -> list[str]:
    """Say where it is. A random token is shown on a terminal only: whatever else takes stderr may keep it."""
    address, _, token = url.partition("?")
    if not token or sys.stderr.isatty():
        return [f"status page: {url}"]
    return [
        f"status page: {address}",
        "  its random token is shown on a terminal only; to open it, set server.admin_token",
    ]
