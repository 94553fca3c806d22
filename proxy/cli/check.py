"""``countersign check``: is the configuration right, can every secret be had, does it work."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from proxy.admin import credential_name, problem
from proxy.admin.status import matches
from proxy.app import App
from proxy.cli import aligned, config_option, told
from proxy.cli.run import run_loop
from proxy.config import Settings, load
from proxy.errors import ConfigError, CountersignError
from proxy.gateway import Entrance, Inbound, Story
from proxy.gateway.headers import read
from proxy.gateway.route import Route
from proxy.gateway.server import require_parser
from proxy.life import exposures
from proxy.log import Log
from proxy.mistakes import dotted

PATIENCE = 20.0  # seconds for each route
_DENIED = "http_request_denied"  # the route's own policy does not allow GET /, which is no fault


@dataclass(slots=True)
class Row:
    """What is told of a route.

    Attributes:
        scope: what its token may do, if it has one and the server said so.
        expires_in: seconds that the token lives from now on, if that is known.

    """

    route: str
    matches: str
    upstream: str
    credential: str
    result: str = ""
    ok: bool = True
    scope: str | None = None
    expires_in: int | None = None


@click.command("check")
@config_option
@click.option("--live", is_flag=True, help="Also fetch each token and call each upstream once (GET of its base).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@told
def command(config: Path | None, live: bool, as_json: bool) -> None:
    """Validate the configuration and resolve every secret, without printing any."""
    settings = load(config)
    rows: list[Row] = []
    missing: list[str] = []

    async def main() -> None:
        missing.extend(await unresolved(settings))
        rows.extend(await checked(settings, live=live))

    run_loop(main())
    if as_json:
        click.echo(json.dumps({"routes": [asdict(row) for row in rows], "secrets": missing}, indent=2))
    else:
        click.echo(table(rows))
    for text in exposures(settings, config):
        click.echo(f"warning: {text}", err=True)
    try:
        require_parser()
    except ConfigError as failure:
        click.echo(f"warning: {failure}", err=True)
    for text in missing:
        click.echo(f"error: {text}", err=True)
    sys.exit(1 if missing or not all(row.ok for row in rows) else 0)


async def unresolved(settings: Settings) -> list[str]:
    """Return what keeps secrets from being had."""
    problems = []
    for path, source in settings.secrets():
        try:
            await source.get()
        except CountersignError as failure:
            problems.append(f"{dotted(path)}: {failure}")
    return problems


async def checked(settings: Settings, *, live: bool) -> list[Row]:
    """Return a row for each route; `live` asks token endpoints and upstreams."""
    app = App(settings, Log(requests=False))
    await app.open()
    try:
        rows = [_row(route) for route in app.routes]
        if live:
            await asyncio.gather(*(_try(app, route, row) for route, row in zip(app.routes, rows, strict=True)))
        return rows
    finally:
        await app.aclose()


def _row(route: Route) -> Row:
    return Row(route.name, matches(route.settings), str(route.settings.upstream), credential_name(route))


async def _try(app: App, route: Route, row: Row) -> None:
    """Fetch the credential, and send one GET to the upstream's base path."""
    text = await problem(route)
    if text:
        row.result, row.ok = f"credential: {text}", False
        return
    story = Story("GET", "/", app.clock.monotonic())
    target = (route.prefix or b"") + b"/"
    host = route.settings.host or "localhost"
    entrance = Entrance(route.settings.listen or "")
    inbound = Inbound("GET", target, read([(b"Host", host.encode())]), (1, 1), entrance, story)
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
    row.ok = answer.status not in (401, 407) if not story.error else story.error == _DENIED


def _verdict(status: int, story: Story) -> str:
    if story.error == _DENIED:
        return f"not called: {story.failure}"
    if story.error:
        return f"{story.error}: {story.failure}"
    notes = f" ({'; '.join(story.notes)})" if story.notes else ""
    return f"{status}{' refused the credential' if status == 401 else ''}{notes}"


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
    """Return the rows aligned, under a head."""
    head = ("ROUTE", "MATCHES", "UPSTREAM", "CREDENTIAL", "RESULT")
    cells: list[tuple[str, ...]] = [
        head,
        *((row.route, row.matches, row.upstream, row.credential, row.result + _token(row)) for row in rows),
    ]
    if not any(row[4] for row in cells[1:]):
        cells = [row[:4] for row in cells]
    return aligned(cells)
