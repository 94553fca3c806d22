"""The demo API put together: which area wants which credential and answers what.

Every request comes to one place, which knows it by its raw path; aiohttp's router would decode it first.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.demo import checks
from proxy.demo.call import Call
from proxy.demo.checks import AccessTokenCheck, Check
from proxy.demo.events import EventResource
from proxy.demo.flakiness import Flakiness
from proxy.demo.issuer import Issuer
from proxy.demo.refusal import Refusal, json_response
from proxy.demo.resources import FlakyResource, Resource, ThrottledResource, hello
from proxy.demo.signature import SignatureCheck
from proxy.demo.throttle import Throttle
from proxy.demo.vault import Vault


@dataclass(frozen=True)
class Area:
    """All paths below one first segment."""

    wants: str
    check: Check
    resource: Resource


class Api:
    """The demo API and all that it remembers."""

    def __init__(self, clock: Callable[[], float], random: Random, sleep: Callable[[float], Awaitable[object]]) -> None:
        vault = Vault(clock)
        issuer = Issuer(vault)
        flaky, throttled = FlakyResource(Flakiness(random)), ThrottledResource(Throttle(clock))
        static = "the static bearer token"
        self._numbers = itertools.count(1)
        self._areas = {
            "basic": Area("HTTP Basic", checks.basic, hello),
            "bearer": Area(static, checks.bearer, hello),
            "oauth2": Area("an access token from POST /oauth2/token", AccessTokenCheck(vault), hello),
            "hmac": Area("a signature in X-Signature", SignatureCheck(clock), hello),
            "throttled": Area(f"{static}; 5 requests in 10 s", checks.bearer, throttled),
            "flaky": Area(f"{static}; fails now and then", checks.bearer, flaky),
            "events": Area(f"{static}; server-sent events", checks.bearer, EventResource(sleep)),
        }
        self._endpoints = {
            "/": self._index,
            "/oauth2/token": issuer.token,
            "/oauth2/revoke": issuer.revoke,
        }

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        call = Call(request, next(self._numbers))
        try:
            response = await self._answer(call)
        except Refusal as refusal:
            response = refusal.response()
        if call.is_awaited:
            response.force_close()
        return response

    async def _answer(self, call: Call) -> web.StreamResponse:
        if call.is_awaited and call.fields("Expect")[0].lower() != "100-continue":
            raise Refusal(417, "expectation_failed", "The only expectation is 100-continue.")
        if endpoint := self._endpoints.get(call.path):
            return await endpoint(call)
        area = self._areas.get(call.path.split("/", 2)[1]) if call.path.startswith("/") else None
        if area is None:
            raise Refusal(404, "not_found", "GET / says what there is.")
        return await area.resource(call, await area.check(call))

    async def _index(self, _: Call) -> web.Response:
        areas = {f"/{name}/hello": area.wants for name, area in self._areas.items()}
        endpoints = {
            "POST /oauth2/token": "client_credentials, refresh_token, password (RFC 6749)",
            "POST /oauth2/revoke": "RFC 7009",
        }
        return json_response(200, {"name": "Countersign's demo API", "areas": areas, "endpoints": endpoints})


@web.middleware
async def _as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what aiohttp's router can't place, such as ``OPTIONS *``, like everything else."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return Refusal(error.status, "not_found", "GET / says what there is.").response()


async def _no_expectations(_: web.Request) -> None:
    """Leave ``Expect`` to the call: aiohttp would ask for the body before anything was checked."""


def make_app(
    clock: Callable[[], float] = time.time,
    random: Random | None = None,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> web.Application:
    """Return the demo API.

    It hashes bodies as they came only if it is run by :func:`proxy.demo.server.serve`: aiohttp's own runners
    unpack them.

    Args:
        clock: seconds since the epoch, for all that expires.
        random: for what fails now and then.
        sleep: what lets time pass between two events.

    """
    api = Api(clock, random or Random(), sleep)  # noqa: S311  # nothing depends on it being unpredictable
    app = web.Application(middlewares=[_as_json])
    app.router.add_route("*", "/{path:.*}", api.answer, expect_handler=_no_expectations)
    return app
