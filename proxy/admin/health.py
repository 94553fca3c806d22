"""Alive, and ready: for ``HEALTHCHECK`` and probes."""

from __future__ import annotations

import asyncio
import json
from typing import ClassVar

from proxy.admin import Facts, Page, credential_name
from proxy.errors import CountersignError
from proxy.gateway import Answer
from proxy.gateway.route import Route

PATIENCE = 10.0  # seconds for all credentials together


class Healthz(Page):
    """The process answers."""

    path: ClassVar[str] = "/healthz"
    open: ClassVar[bool] = True

    async def answer(self, facts: Facts) -> Answer:  # noqa: ARG002
        """As `Page.answer`."""
        return Answer(200, [(b"Content-Type", b"text/plain; charset=utf-8")], b"ok\n")


class Readyz(Page):
    """Every credential in use can be had; else 503, and which one can't."""

    path: ClassVar[str] = "/readyz"
    open: ClassVar[bool] = True

    async def answer(self, facts: Facts) -> Answer:
        """As `Page.answer`."""
        routes = facts.routes()
        problems = await asyncio.gather(*(problem(route) for route in routes))
        failed = {
            route.name: {"credential": credential_name(route), "problem": text}
            for route, text in zip(routes, problems, strict=True)
            if text
        }
        body = json.dumps({"ready": not failed, "routes": failed}, indent=2).encode() + b"\n"
        return Answer(503 if failed else 200, [(b"Content-Type", b"application/json")], body)


async def problem(route: Route) -> str:
    """Return why a route's credential can't be had; empty if it can."""
    try:
        async with asyncio.timeout(PATIENCE):
            await route.scheme.ready()
    except CountersignError as failure:
        return str(failure)
    except TimeoutError:
        return f"not within {PATIENCE:.0f} s"
    except Exception as failure:  # noqa: BLE001  # a stranger's httpx.Auth; its text may repeat what is secret
        return f"failed with {type(failure).__name__}"
    return ""
