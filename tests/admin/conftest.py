from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from proxy import demo
from proxy.demo import DemoServer
from tests.conftest import Running, Start

TOKEN = "4dm1n-t0k3n"

Admin = Callable[..., Awaitable[tuple[Running, httpx.AsyncClient]]]


@pytest.fixture
async def api() -> AsyncIterator[DemoServer]:
    async with await demo.start() as server:
        yield server


@pytest.fixture
async def admin(start: Start, api: DemoServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Admin]:
    """Start a proxy in front of the demo API; returns it and a client of its admin listener."""
    monkeypatch.setenv("ADMIN_TOKEN", TOKEN)
    clients = []

    async def started(
        routes: dict[str, Any] | None = None, credentials: dict[str, Any] | None = None, **more: Any
    ) -> tuple[Running, httpx.AsyncClient]:
        table: dict[str, Any] = dict(demo.settings(api.url))
        routes = {**table["routes"], **(routes or {})}
        credentials = {**table["credentials"], **(credentials or {})}
        server = {"admin": "127.0.0.1:0", "admin_token": {"env": "ADMIN_TOKEN"}}
        running = await start({**table, "server": server, "routes": routes, "credentials": credentials, **more})
        client = httpx.AsyncClient(base_url=running.admin_url.rstrip("/"), trust_env=False, verify=False)
        clients.append(client)
        return running, client

    yield started
    for client in clients:
        await client.aclose()


async def call(running: Running, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    """Send one request through the proxy."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        return await client.request(method, running.url + path, **options)
