"""Any ``httpx.Auth`` that was written for ``httpx.AsyncClient``, made at home here.

It gets a request with a real URL, its answers can be read by it and handed on all the same, and one that
blocks is stepped in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator

import httpx

from proxy.credentials import Scheme
from proxy.errors import CredentialError

READABLE = 1 << 20  # bytes of a request's or an answer's body that an Auth may want to see


class TargetURL(httpx.URL):
    """The URL of a request whose target is sent byte for byte, though httpx would quote it anew."""

    def __init__(self, url: httpx.URL, target: bytes) -> None:
        super().__init__(url, raw_path=target)
        self._target = target

    @property
    def raw_path(self) -> bytes:
        """The target."""
        return self._target


class Rereadable(httpx.AsyncByteStream):
    """An answer's body that can be iterated again after the Auth has read it."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._read: list[bytes] = []
        self._rest = aiter(stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._read:
            yield piece
        async for piece in self._rest:
            if sum(map(len, self._read)) < READABLE:
                self._read.append(piece)
            yield piece

    async def aclose(self) -> None:
        """Close what has not been read."""
        await self._stream.aclose()


class ForeignScheme(Scheme):
    """Drives another's Auth.

    Args:
        inner: it.
        blocks: whether it may do blocking I/O between its yields.

    """

    def __init__(self, inner: httpx.Auth, *, blocks: bool) -> None:
        self._inner = inner
        overridden = type(inner).async_auth_flow is not httpx.Auth.async_auth_flow
        self._in_thread = blocks and not overridden

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        url = TargetURL(request.url, request.extensions["target"])
        base, request.url = request.url, url
        if self._inner.requires_request_body:
            await _read_request(request)
        flow = self._flow(request)
        try:
            request = await anext(flow)
            while True:
                if request.url is url:
                    request.url = base
                else:
                    request.extensions.pop("target", None)
                response = yield request
                if isinstance(response.stream, httpx.AsyncByteStream):
                    response.stream = Rereadable(response.stream)
                if request.url is base:
                    request.url = url
                if self._inner.requires_response_body:
                    await response.aread()
                request = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    def _flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self._in_thread:
            return _threaded(self._inner.sync_auth_flow(request))
        return self._inner.async_auth_flow(request)


async def _threaded(
    flow: Generator[httpx.Request, httpx.Response, None],
) -> AsyncGenerator[httpx.Request, httpx.Response]:
    """Step a flow that may block, each step in a thread."""
    try:
        request = await asyncio.to_thread(next, flow, None)
        while request is not None:
            response = yield request
            request = await asyncio.to_thread(_send, flow, response)
    finally:
        await asyncio.to_thread(flow.close)


def _send(flow: Generator[httpx.Request, httpx.Response, None], response: httpx.Response) -> httpx.Request | None:
    # StopIteration can't cross from a thread into a coroutine.
    try:
        return flow.send(response)
    except StopIteration:
        return None


async def _read_request(request: httpx.Request) -> None:
    """Let the Auth see the body; the stream stays the one that can be replayed.

    Raises:
        CredentialError: it is too large for that.

    """
    stream = request.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    pieces, size = [], 0
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size > READABLE:
            raise CredentialError("the request's body is too large for this credential to see it")
    request._content = b"".join(pieces)  # what Request.aread() sets
