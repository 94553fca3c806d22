"""What answers in an area once the caller has been checked.

An answer takes the call and the sentence that the check returned. It raises a Refusal like a check does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from proxy.demo.call import Call
from proxy.demo.flakiness import Fate, Flakiness
from proxy.demo.refusal import Refusal, json_response
from proxy.demo.sight import sight
from proxy.demo.throttle import LIMIT, WINDOW, Throttle

#: Answers a call of a caller that was checked; the text is what the check found.
Resource = Callable[[Call, str], Awaitable[web.StreamResponse]]

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})  # RFC 9110, 9.2.2


async def hello(call: Call, authenticated: str) -> web.StreamResponse:
    """Answer 200 and what the API saw."""
    return json_response(200, await sight(call, authenticated))


class ThrottledResource:
    """Says hello, but not too often; clients are told apart by their address."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle

    async def __call__(self, call: Call, authenticated: str) -> web.StreamResponse:
        """Answer hello, or 429 with ``Retry-After``."""
        quota = self._throttle.take(call.request.remote or "")
        headers = {
            "RateLimit-Limit": str(LIMIT),
            "RateLimit-Remaining": str(quota.remaining),
            "RateLimit-Reset": str(quota.reset),
        }
        if not quota.allowed:
            hint = f"{LIMIT} requests in {WINDOW} s are allowed; the next one in {quota.reset} s."
            raise Refusal(429, "too_many_requests", hint, headers=headers | {"Retry-After": str(quota.reset)})
        response = await hello(call, authenticated)
        response.headers.update(headers)
        return response


class FlakyResource:
    """Says hello, sometimes. Methods that may not be repeated always succeed."""

    def __init__(self, flakiness: Flakiness) -> None:
        self._flakiness = flakiness

    async def __call__(self, call: Call, authenticated: str) -> web.StreamResponse:
        """Answer hello or 503, or end the connection without an answer."""
        fate = self._flakiness.fate(call.target) if call.method in IDEMPOTENT else Fate.SERVED
        if fate is Fate.DROPPED and call.request.transport:
            call.request.transport.close()
        if fate is not Fate.SERVED:
            raise Refusal(503, "unavailable", "It fails now and then; send the request again.")
        return await hello(call, authenticated)
