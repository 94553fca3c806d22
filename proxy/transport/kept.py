"""Answers of which the start has been read, and that are handed on whole all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx


class Kept(httpx.AsyncByteStream):
    """An answer's body of which the start has been read already."""

    def __init__(self, start: bytes, rest: AsyncIterator[bytes], stream: httpx.AsyncByteStream) -> None:
        self._start = start
        self._rest = rest
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._start:
            yield self._start
        async for piece in self._rest:
            yield piece

    async def aclose(self) -> None:
        """Close what has not been read."""
        await self._stream.aclose()


class _Ahead(httpx.AsyncByteStream):
    """A body that may be asked for a piece without waiting for it to come."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._asked: asyncio.Task[bytes | None] | None = None

    def ask(self) -> asyncio.Task[bytes | None]:
        """Return what brings the next piece, or None at the end; the same until it is taken."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._next(), name="the start of an answer")
        return self._asked

    async def _next(self) -> bytes | None:
        return await anext(self._pieces, None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._asked is None:
            return await anext(self._pieces)
        piece = await self._asked
        self._asked = None
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)
        await self._stream.aclose()


async def peek(response: httpx.Response, limit: int, seconds: float) -> bytes:
    """Return the start of an answer's body, whose stream still gives all of it.

    Args:
        response: its stream is replaced.
        limit: bytes that are enough; a piece that goes beyond is not cut.
        seconds: how long to wait for them. What has come by then is returned; what failed fails its reader.

    """
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    ahead = _Ahead(stream)
    start = bytearray()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        while len(start) < limit:
            asked = ahead.ask()
            # Nothing is cancelled when the time is over: that would break off the answer.
            await asyncio.wait([asked], timeout=max(0.0, deadline - loop.time()))
            if not asked.done() or asked.cancelled() or asked.exception() is not None:
                break
            piece = asked.result()
            if piece is None:
                break
            start += await anext(ahead)
    except BaseException:
        await ahead.aclose()
        raise
    response.stream = Kept(bytes(start), ahead, ahead)
    return bytes(start)
