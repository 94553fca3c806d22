"""One request's way through the transport: a connection, the request on it, the answer from it."""

from __future__ import annotations

import asyncio
import ssl

import httpx

from proxy.errors import ConnectionTerminated, OutgoingProxyError, OutOfSockets
from proxy.transport.answer import Answer
from proxy.transport.connect import Way, basic_authorization, connect, host_port
from proxy.transport.connection import Connection, Limits
from proxy.transport.messages import raw_response
from proxy.transport.own import OwnAddresses
from proxy.transport.pool import Pool, Reservation
from proxy.transport.resumption import Resuming
from proxy.transport.writer import HeadWriter


class HTTP11Transport(httpx.AsyncBaseTransport):
    """Sends requests to one origin over HTTP/1.1.

    Args:
        origin: the origin; only its scheme, host and port count.
        ssl_context: for https; its ALPN is set to ``http/1.1``. Default: httpx's.
        server_hostname: the name for SNI and the certificate, if it is not the origin's.
        uds: the path of a unix socket to connect to instead.
        proxy: an outgoing proxy, ``http://[user:password@]host:port``.
        tunnel: whether that is asked by CONNECT for plain HTTP, too.
        connect_timeout: seconds for name, TCP, outgoing proxy and TLS together; None or 0 for ever.
        read_timeout: seconds without progress while the upstream is to send or to take something.
        keepalive_expiry: seconds that an idle connection is kept.
        max_head: bytes of an answer's head.
        max_fields: fields in it.
        any_user: whether any user of this machine may listen on the unix socket.
        own: addresses that are refused, since whoever sends listens there itself.

    """

    def __init__(
        self,
        origin: httpx.URL,
        *,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        uds: str | None = None,
        proxy: httpx.URL | None = None,
        tunnel: bool = False,
        connect_timeout: float | None = 5.0,
        read_timeout: float | None = 60.0,
        keepalive_expiry: float = 15.0,
        max_head: int = 65536,
        max_fields: int = 256,
        any_user: bool = False,
        own: OwnAddresses | None = None,
    ) -> None:
        if proxy is not None and proxy.scheme != "http":
            raise ValueError("an outgoing proxy's URL starts with http://")
        tls = None
        if origin.scheme == "https":
            tls = ssl_context or httpx.create_ssl_context()
            tls.set_alpn_protocols(["http/1.1"])
        host, port = host_port(origin)
        authorization = basic_authorization(proxy) if proxy is not None else None
        self._way = Way(
            host,
            port,
            tls=Resuming(tls) if tls is not None else None,
            server_hostname=server_hostname,
            uds=uds,
            proxy=host_port(proxy) if proxy is not None else None,
            proxy_authorization=authorization,
            tunnel=tunnel,
            timeout=connect_timeout,
            any_user=any_user,
            own=own or OwnAddresses(),
        )
        prefix = self._way.absolute_form
        self._via_proxy = bool(prefix)
        extra = b"Proxy-Authorization: " + authorization if authorization and prefix else b""
        self._writer = HeadWriter(prefix, extra)
        self._limits = Limits(read_timeout, max_head, max_fields)
        self._expiry = keepalive_expiry
        self._pool: Pool | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, once; return when the answer's head is there.

        The target is ``request.extensions["target"]``, or else the URL's. With a `Reservation` in
        ``extensions["reservation"]`` the connection is the one that it keeps.

        Raises:
            UpstreamError: what failed, with the three facts that decide about a repetition.
            InternalError: the request can't be sent like this.
            LoopDetected: the way leads to one of our own addresses.
            UntrustedUpstream: it leads to another user of this machine.
            BaseException: whatever the request's stream raised.

        """
        pool = self._pool
        reservation: Reservation | None = request.extensions.get("reservation")
        if pool is None:
            connection = None
        elif reservation is None:
            connection = pool.take()
        else:
            connection = pool.take_reserved(reservation)
        if connection is None:
            connection = await self._connect()
        if reservation is not None:
            reservation.keep(connection)
        answer = connection.send(request)
        await answer.head()
        if self._via_proxy and answer.status == 407:
            await answer.aclose()
            raise OutgoingProxyError("the outgoing proxy answered 407", sent=True, begun=True)
        return _response(answer)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._pool) if self._pool is not None else 0

    @property
    def idle(self) -> int:
        """How many of them wait for a request."""
        return self._pool.idle if self._pool is not None else 0

    async def aclose(self) -> None:
        """Close all connections, at once; requests that come later fail."""
        if self._pool is None:
            self._pool = Pool(self._expiry, asyncio.get_running_loop(), self._way.tls)
        await self._pool.aclose()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._pool is None:
            self._pool = Pool(self._expiry, loop, self._way.tls)
        pool = self._pool
        pool.check()
        try:
            connection = await connect(self._way, lambda: Connection(pool, self._writer, self._limits, loop))
        except OutOfSockets:
            pool.make_room()  # for the next attempt
            raise
        try:
            pool.check()
        except ConnectionTerminated:
            connection.cut()
            raise
        # Not earlier: uvloop does not tell a connection that it is lost when the connect was cancelled.
        pool.add(connection)
        return connection


def _response(answer: Answer) -> httpx.Response:
    extensions: dict[str, object] = {"http_version": answer.version, "reason_phrase": answer.reason}
    if answer.tunnel is not None:
        extensions["network_stream"] = answer.tunnel
    return raw_response(answer.status, answer.fields, answer, extensions)
