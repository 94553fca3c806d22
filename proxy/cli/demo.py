"""``countersign demo``: the demo API, the proxy in front of it, and what to paste."""

from __future__ import annotations

import asyncio
import signal
import sys

import click

from proxy import demo
from proxy.app import App
from proxy.cli import in_colour, told
from proxy.cli._flags import settings_of_addresses
from proxy.cli.run import run_loop, serve
from proxy.config import Settings, load
from proxy.errors import ConfigError, CountersignError
from proxy.gateway.server import require_parser
from proxy.layers import Table
from proxy.life import handled, to_the_end
from proxy.lines import never_wait, stderr
from proxy.listeners import kind
from proxy.log import Log


class DemoError(CountersignError):
    """The demo API could not start."""


@click.command("demo")
@click.option("--api-only", is_flag=True, help="Only the API, as a test double.")
@click.option("--listen", metavar="ADDRESS", help="Where the proxy listens, or with --api-only the API.")
@click.option("--admin", metavar="ADDRESS", help='The admin listener; "" or none for none.')
@click.option("--api-port", default=0, type=click.IntRange(0, 65535), help="The API's port; 0 for any free one.")
@told
def command(api_only: bool, listen: str | None, admin: str | None, api_port: int) -> None:
    """Start an API that wants credentials, and the proxy that has them."""
    require_parser()
    never_wait()
    run_loop(to_the_end(_api(listen) if api_only else _both(listen, admin, api_port)))


async def _api(listen: str | None) -> None:
    api = await _started(*_split(listen or "127.0.0.1:0"))
    click.echo(f"demo API: {api.url}", err=True)
    ended = asyncio.Event()
    with handled({signal.SIGTERM: ended.set, signal.SIGINT: ended.set}):
        try:
            await ended.wait()
        finally:
            await api.aclose()


def _split(address: str) -> tuple[str, int]:
    try:
        kind(address).check(address)
        host, _, port = address.rpartition(":")
        return host.strip("[]"), int(port)
    except ValueError:
        raise ConfigError("--listen: right would be HOST:PORT, such as 127.0.0.1:9000") from None


async def _started(host: str, port: int) -> demo.DemoServer:
    try:
        return await demo.start(host, port)
    except OSError as failure:
        raise DemoError(f"the demo API can't listen on {host}:{port}: {failure.strerror}") from None


async def _both(listen: str | None, admin: str | None, api_port: int) -> None:
    api = await _started("127.0.0.1", api_port)
    try:
        log = Log(stderr(), colours=in_colour())
        await serve(App(settings_for(api.url, listen, admin), log), log, guide)
    finally:
        await api.aclose()


def settings_for(api_url: str, listen: str | None, admin: str | None = None) -> Settings:
    """Return the demo's configuration; the environment can change it as always."""
    table: Table = {**demo.settings(api_url), **settings_of_addresses((listen,) if listen else (), admin)}
    return load(overrides=table, use_file=False)


def guide(url: str) -> None:
    """Print the curl lines: they are what the demo is for, so they go to stdout."""
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and in_colour() else ("", "")
    click.echo("\nPaste these into another terminal:\n")
    for shows, line in demo.curl_lines(url):
        click.echo(f"  # {shows}\n  {bold}{line}{plain}\n")
    click.echo("Stop with Ctrl-C.")
    sys.stdout.flush()
