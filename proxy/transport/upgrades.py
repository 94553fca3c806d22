"""Upgrades through an outgoing proxy to a plain HTTP origin: by CONNECT (RFC 6455, section 4.1).

A proxy that forwards a request drops ``Upgrade``, which is hop-by-hop; through a tunnel it arrives.
"""

from __future__ import annotations

import httpx


class UpgradeTransport(httpx.AsyncBaseTransport):
    """Sends what wants an upgrade through a tunnel, and the rest as a proxy forwards it.

    Args:
        forwarded: for most requests.
        tunnelled: for those with ``Upgrade``.

    """

    def __init__(self, forwarded: httpx.AsyncBaseTransport, tunnelled: httpx.AsyncBaseTransport) -> None:
        self._forwarded = forwarded
        self._tunnelled = tunnelled

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As its base class."""
        transport = self._tunnelled if "upgrade" in request.headers else self._forwarded
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._forwarded.aclose()
        await self._tunnelled.aclose()
