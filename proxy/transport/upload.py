"""A request's body on its way: framed, with backpressure, while the answer may already come.

Only a body that ended by itself and fits its framing is ended on the wire; whatever else happens, the
connection is cut, so that half a body is never taken for a whole one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

import httpx

from proxy.errors import InternalError
from proxy.transport.writer import CHUNKED, END, chunk

SMALL = 1 << 16  # bytes that are worth a copy to be one write


class Sink(Protocol):
    """Where a body goes that is poured: read and written without becoming an object."""

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes; what a view shows has to stay as it is while there are `unsent` ones."""

    async def drain(self) -> None:
        """Wait until more may be written. Raises ConnectionTerminated."""

    @property
    def unsent(self) -> int:
        """Bytes that the upstream has yet to take."""

    @property
    def is_full(self) -> bool:
        """Whether there are too many of them for more: `drain` would wait."""


class Outlet(Sink, Protocol):
    """What an upload needs of its connection."""

    def uploaded(self) -> None:
        """Note that the body is complete."""

    def broke_off(self, failure: BaseException) -> None:
        """Note that the body ended too early, or too late."""


def at_hand(stream: object) -> bytes | None:
    """Return the whole of a small body if it is in memory already."""
    if isinstance(stream, httpx.ByteStream):
        body: bytes | None = b"".join(stream)
    else:
        whole = getattr(stream, "whole", None)
        body = whole() if whole is not None else None
    return body if body is not None and len(body) <= SMALL else None


def framed(body: bytes, length: int) -> bytes:
    """Return a whole body as it is sent.

    Raises:
        InternalError: it does not fit its Content-Length.

    """
    if length == CHUNKED:
        return chunk(body) + END if body else END
    if len(body) != length:
        raise InternalError("the request's body does not fit its Content-Length")
    return body


class Upload:
    """Sends one body, and the head in front of it.

    Attributes:
    """

    __slots__ = ("_head", "_outlet", "_rest", "_stopping", "_stream", "_task", "_waiting")

    def __init__(self, outlet: Outlet, head: bytes, length: int, stream: httpx.AsyncByteStream) -> None:
        self._outlet = outlet
        self._head = head
        self._rest = length
        self._stream = stream
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._waiting = True

    @property
    def waiting(self) -> bool:
        """Whether it is the client's turn: nothing is there to be sent."""
        return self._waiting and not self._outlet.unsent

    @property
    def is_sent(self) -> bool:
        """Whether the upstream may have all of it: as many bytes as were announced have left, or the last chunk."""
        return not (self._rest or self._head or self._outlet.unsent)

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send the head, with the first piece of the body if that is there, and go on in a task."""
        self._task = _start(loop, self._run())
        if self._head:
            # Behind the task's first step: a piece that is there takes the head along.
            loop.call_soon(self._send_head)

    async def stop(self) -> None:
        """Send no more; returns when the stream is closed, so that it may be iterated again."""
        self._stopping = True
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,))

    def cut(self) -> None:
        """Send no more, but don't wait for it."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pieces = aiter(self._stream)
        try:
            try:
                await self._send(pieces)
            finally:
                await _close(pieces)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001  # it is the request's to raise
            if not self._stopping:
                self._outlet.broke_off(failure)
        else:
            if not self._stopping:
                self._outlet.uploaded()

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        pour = getattr(self._stream, "pour", None)
        async for piece in pieces:
            if piece:
                self._waiting = False
                self.write(piece)
                await self._outlet.drain()
                self._waiting = True
            if pour is not None:
                await pour(self)
        if self._rest == CHUNKED:
            self._outlet.write(self._take_head() + END)
            self._rest = 0
        elif self._rest:
            raise InternalError("the request's body is shorter than its Content-Length")

    # -- Sink ----------------------------------------------------------------------------------------

    def write(self, piece: bytes | memoryview) -> None:
        """As `Sink.write`."""
        if self._rest == CHUNKED:
            piece = chunk(bytes(piece))
        elif len(piece) > self._rest:
            raise InternalError("the request's body is longer than its Content-Length")
        else:
            self._rest -= len(piece)
        if self._head and len(piece) > SMALL:
            self._send_head()
        self._outlet.write(self._take_head() + piece if self._head else piece)

    async def drain(self) -> None:
        """As `Sink.drain`."""
        await self._outlet.drain()

    @property
    def unsent(self) -> int:
        """As `Sink.unsent`."""
        return self._outlet.unsent

    @property
    def is_full(self) -> bool:
        """As `Sink.is_full`."""
        return self._outlet.is_full

    def _send_head(self) -> None:
        if self._head and not self._stopping:
            self._outlet.write(self._take_head())

    def _take_head(self) -> bytes:
        head, self._head = self._head, b""
        return head


def _start(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task, eagerly where Python can: a body that is there is then sent without a detour."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


async def _close(pieces: AsyncIterator[bytes]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
