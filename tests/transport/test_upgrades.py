"""Upgrades go through a tunnel; what else there is goes as a proxy forwards it."""

from __future__ import annotations

import httpx

from proxy.transport.upgrades import UpgradeTransport
from tests.doubles import Script


class Closing(Script):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


async def test_what_wants_an_upgrade_is_tunnelled() -> None:
    forwarded, tunnelled = Closing(), Closing()
    transport = UpgradeTransport(forwarded, tunnelled)
    await transport.handle_async_request(httpx.Request("GET", "http://api.test/plain"))
    await transport.handle_async_request(httpx.Request("GET", "http://api.test/up", headers={"Upgrade": "websocket"}))
    assert [request.url.path for request in forwarded.requests] == ["/plain"]
    assert [request.url.path for request in tunnelled.requests] == ["/up"]
    await transport.aclose()
    assert forwarded.closed
    assert tunnelled.closed
