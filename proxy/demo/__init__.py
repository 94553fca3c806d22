"""The demo API: wants credentials and checks them, expires, revokes, throttles, and fails now and then.

``countersign demo`` puts the proxy in front of it. It is also useful alone, as a test double::

    async with await proxy.demo.start() as api:
        ...  # api.url; what it lets in stands in proxy.demo.accounts
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from proxy.demo.api import make_app
from proxy.demo.guide import curl_lines, settings
from proxy.demo.server import DemoServer, serve

__all__ = ["DemoServer", "curl_lines", "make_app", "serve", "settings", "start"]


async def start(
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
    random: Random | None = None,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> DemoServer:
    """Start a demo API of its own; see :func:`make_app` for what can be handed in.

    Raises:
        OSError: the address can't be had.

    """
    return await serve(make_app(clock, random, sleep=sleep), host, port)
