"""The status page, and the same as JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from typing import Any, ClassVar

from proxy import __version__
from proxy.admin import Facts, Page, credential_name
from proxy.gateway import Answer
from proxy.gateway.route import Route
from proxy.gateway.settings import RouteSettings
from proxy.report import Report, total
from proxy.tokens import Standing

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 0 0 2rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
:root { color-scheme: light dark; }
"""
_CSP = b"default-src 'none'; style-src 'sha256-%b'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" % (
    b64encode(sha256(_STYLE.encode()).digest())
)


class StatusApi(Page):
    """``/api/status``: what listens, routes, credentials with expiry, counters."""

    path: ClassVar[str] = "/api/status"

    async def answer(self, facts: Facts) -> Answer:
        """As `Page.answer`."""
        body = json.dumps(await status(facts), indent=2).encode() + b"\n"
        return Answer(200, [(b"Content-Type", b"application/json")], body)


class StatusPage(Page):
    """``/``: the same for people."""

    path: ClassVar[str] = "/"
    csp: ClassVar[bytes] = _CSP

    async def answer(self, facts: Facts) -> Answer:
        """As `Page.answer`."""
        return Answer(200, [(b"Content-Type", b"text/html; charset=utf-8")], _page(await status(facts)).encode())


async def status(facts: Facts) -> dict[str, Any]:  # Any: JSON
    """Return what there is to know; nothing secret is in it."""
    routes = facts.routes()
    report = total(await facts.workers.reports())
    return {
        "version": __version__,
        "started": date(facts.started),
        "uptime_seconds": round(facts.clock.time() - facts.started),
        "reload": facts.reloaded or None,
        "listens": list(facts.listens),
        "workers": report.processes,
        "connections": report.connections,
        "routes": [_route(route, report) for route in routes],
        "tokens": [_token(name, standing, facts.clock.time()) for name, standing in sorted(report.tokens.items())],
        "store": report.trouble or None,
        "requests": _counts(report),
    }


def _route(route: Route, report: Report) -> dict[str, Any]:  # Any: JSON
    settings = route.settings
    expiry = report.expires.get(route.name)
    return {
        "name": route.name,
        "matches": matches(settings),
        "upstream": str(settings.upstream),
        "credential": credential_name(route),
        "token_expires": None if expiry is None else date(expiry),
        "throttled_seconds": round(report.throttled.get(route.name, 0.0), 1),
    }


def _token(name: str, standing: Standing, now: float) -> dict[str, Any]:  # Any: JSON
    expiry, resting = standing.expires_at, standing.resting_until
    return {
        "credential": name,
        "expires": None if expiry is None else date(expiry),
        "expires_seconds": None if expiry is None else round(expiry - now),
        "resting_until": None if resting is None else date(resting),
        "problem": standing.problem or None,
        "unsaved": standing.unsaved or None,
    }


def matches(settings: RouteSettings) -> str:
    """Return what requests a route takes, for people."""
    parts = [settings.listen or "", settings.host or "", (settings.prefix or "") + "/"]
    return " ".join(part for part in parts if part)


def _counts(report: Report) -> list[dict[str, Any]]:  # Any: JSON
    return [
        {**sample.labels, "count": int(sample.value)}
        for family in report.families
        if family.name == "countersign_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
    ]


def date(seconds: float) -> str:
    """Return a moment as ISO 8601 has it; `seconds` since the epoch."""
    seconds = min(max(seconds, 0.0), 253402300799.0)  # until the end of the year 9999, whatever a server has said
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _page(data: dict[str, Any]) -> str:  # Any: JSON
    facts = {
        key: data[key]
        for key in ("version", "started", "uptime_seconds", "workers", "connections", "reload", "store")
        if data[key] is not None
    }
    facts["listens"] = ", ".join(data["listens"])
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>Countersign</title>',
            f"<style>{_STYLE}</style></head><body><h1>Countersign</h1>",
            _table([{"": key.replace("_", " "), " ": value} for key, value in facts.items()]),
            "<h2>Routes</h2>",
            _table(data["routes"]),
            *(["<h2>Tokens</h2>", _table(data["tokens"])] if data["tokens"] else []),
            "<h2>Requests</h2>",
            _table(data["requests"]) if data["requests"] else "<p>None yet.</p>",
            "</body></html>\n",
        ]
    )


def _table(rows: list[dict[str, Any]]) -> str:  # Any: JSON
    head = "".join(f"<th>{escape(key.replace('_', ' '))}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(_cell(value) for value in row.values()) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    number = ' class="number"' if isinstance(value, int | float) else ""
    return f"<td{number}>{'' if value is None else escape(str(value))}</td>"
