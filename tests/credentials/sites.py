"""Sites on real sockets that credentials ask, and what those ask them with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from proxy.credentials import Context, Scheme
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.credentials.doubles import parse
from tests.doubles import FakeClock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site(handler: Handler) -> AsyncIterator[str]:
    """Serve everything by `handler`; yields the site's URL."""
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]  # a BaseRequest has what is asked here
    await runner.setup()
    try:
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def at_home(table: dict[str, Any], clock: FakeClock | None = None) -> AsyncIterator[Scheme]:
    """Build a credential that asks over sockets."""
    client = StockTransport(context, connect=5, read=5)
    clock = clock or FakeClock()
    others: dict[str, Scheme] = {}
    scheme = parse(table).build(Context("api", others.__getitem__, Tokens(MemoryStore(), clock, client), clock))
    try:
        yield scheme
    finally:
        await scheme.aclose()
        await client.aclose()
