"""Server-sent events: one each half second, until all were sent or the client went away."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from proxy.demo.call import Call
from proxy.demo.refusal import Refusal
from proxy.demo.sight import sight

COUNT: Final = 20
INTERVAL: Final = 0.5  # seconds before each event
MOST: Final = 100_000  # events
LONGEST: Final = 3600.0  # seconds


class EventResource:
    """Streams ``?count=`` events, ``?interval=`` seconds apart; the first one says what the API saw."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._sleep = sleep

    async def __call__(self, call: Call, authenticated: str) -> web.StreamResponse:
        """Send the head at once, then event by event."""
        count = int(_number(call, "count", COUNT, MOST))
        interval = _number(call, "interval", INTERVAL, LONGEST)
        saw = await sight(call, authenticated)
        response = web.StreamResponse(headers={"Cache-Control": "no-store", "Content-Type": "text/event-stream"})
        await response.prepare(call.request)
        if call.method != "HEAD":
            for number in range(1, count + 1):
                await self._sleep(interval)
                await response.write(_event(number, count, {"saw": saw} if number == 1 else {}))
        return response


def _event(number: int, count: int, more: dict[str, object]) -> bytes:
    data = json.dumps({"event": number, "of": count, **more})
    return f"id: {number}\nevent: tick\ndata: {data}\n\n".encode()


def _number(call: Call, name: str, default: float, most: float) -> float:
    text = call.request.query.get(name)
    try:
        number = default if text is None else float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise Refusal(400, "invalid_request", f"{name} is not a number from 0 to {most:g}.")
    return number
