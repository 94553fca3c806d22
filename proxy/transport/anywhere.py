"""To any origin, directly or through the outgoing proxy that leads there: for what credentials request."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx

from proxy.transport.outgoing import DIRECT, ProxyRules
from proxy.transport.own import OwnAddresses
from proxy.transport.stock import StockTransport


class AnywhereTransport(httpx.AsyncBaseTransport):
    """A `StockTransport` for each outgoing proxy, and one for none, made when it is first needed.

    Args:
        tls: makes the context, when one is needed for the first time.
        rules: which proxy leads where.
        connect: seconds to connect, or None.
        read: seconds between two pieces, or None.
        own: addresses that are refused, since this process listens there itself.

    """

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        rules: ProxyRules = DIRECT,
        *,
        connect: float | None = 5.0,
        read: float | None = 60.0,
        own: OwnAddresses | None = None,
    ) -> None:
        self._own = own
        self._tls = tls
        self._rules = rules
        self._connect = connect
        self._read = read
        self._transports: dict[httpx.URL | None, StockTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As its base class.

        Raises:
            UpstreamError: what failed.

        """
        proxy = self._rules.proxy_for(request.url)
        if proxy not in self._transports:
            self._transports[proxy] = StockTransport(
                self._tls, connect=self._connect, read=self._read, proxy=proxy, own=self._own
            )
        return await self._transports[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._transports.values():
            await transport.aclose()
