"""Alive, and ready: for ``HEALTHCHECK`` and probes."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from proxy.admin import Facts, Page, Problem, credential_name
from proxy.gateway import Answer
from proxy.report import total
from proxy.tokens import Standing


class Healthz(Page):
    """The process answers."""

    path: ClassVar[str] = "/healthz"
    open: ClassVar[bool] = True

    async def answer(self, facts: Facts) -> Answer:  # noqa: ARG002
        """As `Page.answer`."""
        return Answer(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"ok\n")


class Readyz(Page):
    """Every credential in use can be had, by every worker; else 503, and which one can't. Who stops is not ready."""

    path: ClassVar[str] = "/readyz"
    open: ClassVar[bool] = True

    async def answer(self, facts: Facts) -> Answer:
        """As `Page.answer`."""
        return await _readiness(facts, is_open=False)

    async def open_answer(self, facts: Facts) -> Answer:
        """As `Page.open_answer`: without what programs have printed, which may name paths and accounts."""
        return await _readiness(facts, is_open=True)


async def _readiness(facts: Facts, *, is_open: bool) -> Answer:
    if facts.stopping:
        return _answer(503, {"ready": False, "routes": {}, "stopping": True})
    told = list(await facts.workers.problems())
    failed: dict[str, Problem] = {}
    for problems in filter(None, told):
        failed |= problems
    names = {route.name: credential_name(route) for route in facts.routes()}
    ready = not failed and None not in told
    found: dict[str, Any] = {  # Any: JSON
        "ready": ready,
        "routes": {
            route: {"credential": names.get(route, ""), "problem": _shown(*problem, is_open=is_open)}
            for route, problem in failed.items()
        },
    }
    report = total(await facts.workers.reports())
    if report.tokens:
        now = facts.clock.time()
        found["tokens"] = {name: _token(each, now, is_open=is_open) for name, each in report.tokens.items()}
    if report.trouble:
        found["store"] = report.trouble
    if None in told:
        found["workers"] = f"{told.count(None)} of {len(told)} don't answer"
    return _answer(200 if ready else 503, found)


def _answer(status: int, found: dict[str, Any]) -> Answer:  # Any: JSON
    return Answer(status, [(b"Content-Type", b"application/json")], json.dumps(found, indent=2).encode() + b"\n")


def _shown(text: str, public: str, *, is_open: bool) -> str:
    return text if not is_open or text == public else f"{public}; the rest is in the log, and here with the admin token"


def _token(standing: Standing, now: float, *, is_open: bool) -> dict[str, Any]:  # Any: JSON
    """Return how a token stands; what is well is not mentioned."""
    found: dict[str, Any] = {  # Any: JSON
        "expires_in": None if standing.expires_at is None else round(standing.expires_at - now)
    }
    if standing.resting_until is not None:
        found["resting"] = round(standing.resting_until - now, 1)
    if standing.problem:
        found["problem"] = _shown(standing.problem, standing.public, is_open=is_open)
    if standing.unsaved:
        found["unsaved"] = standing.unsaved
    return found
