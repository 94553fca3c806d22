"""HTTP/2 to one origin: httpx's stock transport, kept from what would spoil one answer by another.

Stock connections never reset a stream, and a request that is cancelled may leave half a frame behind. So a
connection on which an answer was given up takes no more requests, and ends with the last of those under way on
it. Nor do they open more than a hundred streams at once: who comes then gets another connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx

from proxy.errors import ConnectionTerminated

_STREAMS = 100  # at once on a connection, of httpcore's
_BODILESS = frozenset({204, 304})


class Strand:
    """One connection.

    Attributes:
        under_way: answers that are not through.
        spoilt: whether it takes no more requests.

    """

    __slots__ = ("spoilt", "transport", "under_way")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.under_way = 0
        self.spoilt = False


class HTTP2Transport(httpx.AsyncBaseTransport):
    """Sends requests to one origin over HTTP/2, and those that want an upgrade over HTTP/1.1.

    HTTP/2 has no 101 (RFC 9113, section 8.6), so WebSockets go the way that browsers send them.

    Args:
        make: makes a transport for HTTP/2, which is used for one connection.
        http11: for what wants an upgrade.

    """

    def __init__(self, make: Callable[[], httpx.AsyncBaseTransport], http11: httpx.AsyncBaseTransport) -> None:
        self._make = make
        self._http11 = http11
        self._strands: list[Strand] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As its base class.

        Raises:
            UpstreamError: what failed.

        """
        if "upgrade" in request.headers:
            return await self._http11.handle_async_request(request)
        if self._closed:
            raise ConnectionTerminated("the transport is closed")
        strand = self._free()
        strand.under_way += 1
        try:
            response = await strand.transport.handle_async_request(request)
        except BaseException:
            await self.left(strand, whole=False)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        whole = request.method == "HEAD" or response.status_code in _BODILESS
        response.stream = Share(response.stream, self, strand, whole=whole)
        return response

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._strands)

    async def left(self, strand: Strand, *, whole: bool) -> None:
        """Have done with an answer, which came to its end or did not."""
        strand.under_way -= 1
        strand.spoilt = strand.spoilt or not whole
        if strand.spoilt and not strand.under_way and strand in self._strands:
            self._strands.remove(strand)
            await strand.transport.aclose()

    async def aclose(self) -> None:
        """Close all connections, at once; requests that come later fail."""
        self._closed = True
        strands, self._strands = self._strands, []
        for strand in strands:
            await strand.transport.aclose()
        await self._http11.aclose()

    def _free(self) -> Strand:
        for strand in self._strands:
            if not strand.spoilt and strand.under_way < _STREAMS:
                return strand
        self._strands.append(Strand(self._make()))
        return self._strands[-1]


class Share(httpx.AsyncByteStream):
    """An answer's body, which knows whether it came to its end."""

    def __init__(self, inner: httpx.AsyncByteStream, home: HTTP2Transport, strand: Strand, *, whole: bool) -> None:
        self._inner = inner
        self._home = home
        self._strand: Strand | None = strand
        self._whole = whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            if piece:  # the frame that ends a stream is often empty
                yield piece
        self._whole = True

    async def aclose(self) -> None:
        """Be done with it; what has not come is given up."""
        strand, self._strand = self._strand, None
        if strand is None:
            return
        try:
            await self._inner.aclose()
        finally:
            await self._home.left(strand, whole=self._whole)
