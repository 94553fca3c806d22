"""One answer as it comes: its head, then its body, piece by piece, with backpressure.

An answer outlives its connection: once it is complete it lets go of it, and what was not read yet is kept
here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import httpx

from proxy.transport.parser import AnswerParser, Fields
from proxy.transport.tunnel import Tunnel
from proxy.transport.upload import Upload

HIGH = 1 << 18  # bytes that wait to be read before the upstream is slowed down …
LOW = 1 << 16  # … and where it may go on
_JOINED = 1 << 16  # bytes that are worth a copy to be one piece


class Line(Protocol):
    """What an answer needs of the connection that it comes by."""

    def slow(self) -> None:
        """Stop reading from the upstream."""

    def go_on(self) -> None:
        """Read on."""

    def spoil(self) -> None:
        """Send no more of the request's body; the connection ends with the answer."""

    def uploaded(self) -> None:
        """Note that the request is complete."""

    def leave(self) -> None:
        """Do without the rest of the answer."""

    def abort(self) -> None:
        """End at once."""


class Answer(httpx.AsyncByteStream):
    """An answer, which is also its response's stream.

    Attributes:
        status: 0 until the head is there.
        reason, version, fields: as the upstream sent them.
        tunnel: the connection as it is, of a 101.
        complete: whether the last byte has arrived.
        upload: the request's body on its way, or after it; None if there was nothing to wait for.

    """

    __slots__ = (
        "_failure", "_line", "_loop", "_pieces", "_size", "_slowed", "_waiter", "complete", "fields",
        "reason", "status", "tunnel", "upload", "version",
    )  # fmt: skip

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self._line: Line | None = line
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._slowed = False
        self.status = 0
        self.complete = False
        self.tunnel: Tunnel | None = None
        self.upload: Upload | None = None

    # -- the connection's side -------------------------------------------------------------------

    def take(self, parser: AnswerParser) -> None:
        """Take over what the parser has got so far."""
        if not self.status:
            self.status = parser.status
            self.reason = parser.reason
            self.version = parser.version
            self.fields: Fields = parser.fields
        if parser.pieces:
            self._pieces += parser.pieces
            parser.pieces.clear()
        self.complete = parser.complete

    def arrived(self, size: int) -> None:
        """Wake the reader; ``size`` bytes came, framing included."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        self._size += size
        if self._size > HIGH and not self._slowed and self._line is not None:
            self._slowed = True
            self._line.slow()

    def fail(self, failure: BaseException) -> None:
        """End the answer by an exception, which the reader gets after what had arrived."""
        self._failure = failure
        self._line = None
        self.arrived(0)

    def let_go(self) -> None:
        """Be independent of the connection."""
        self._line = None

    @property
    def slowed(self) -> bool:
        """Whether the reader is what everybody waits for."""
        return self._slowed

    # -- the reader's side -----------------------------------------------------------------------

    async def head(self) -> None:
        """Wait for the head. A refusal (400 and up) stops the upload, if there still is one.

        When this returns so, or raises, the request's stream is closed and may be iterated again.

        Raises:
            UpstreamError: the head did not come.
            BaseException: whatever the request's stream raised.

        """
        try:
            while not self.status:
                if self._failure is not None:
                    raise self._failure
                self._waiter = self._loop.create_future()
                await self._waiter
            if self.upload is not None and self.status >= 400:
                await self._refused(self.upload)
        except BaseException:
            await self.abort()
            raise

    async def _refused(self, upload: Upload) -> None:
        if upload.is_sent:
            await self._sent(upload)
            return
        if self._line is not None:
            self._line.spoil()
        await upload.stop()

    async def _sent(self, upload: Upload) -> None:
        """Be done with an upload of which only the end of the client's body may be missing: the connection stays."""
        await upload.stop()
        if self._line is not None:
            self._line.uploaded()

    def ready(self) -> tuple[bytes, bool]:
        """Take what has arrived of the body, and say whether that completes it."""
        body = self._take_all()
        if self._slowed:
            self._go_on()
        return body, self.complete

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.complete:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            try:
                self._waiter = self._loop.create_future()
                await self._waiter
            except asyncio.CancelledError:
                await self.abort()
                raise
        piece = self._take_some()
        if self._slowed and self._size < LOW:
            self._go_on()
        return piece

    async def aclose(self) -> None:
        """Be done with it; a large unread rest, or an unsent one of the request, costs the connection."""
        try:
            if self.upload is not None and self.upload.is_sent:
                await self._sent(self.upload)
        finally:
            line, self._line = self._line, None
            if line is not None:
                line.leave()
        if self.upload is not None:
            await self.upload.stop()
        if self.tunnel is not None:
            await self.tunnel.aclose()

    async def abort(self) -> None:
        """Give up; the connection, if it still is this answer's, is closed at once."""
        line, self._line = self._line, None
        if line is not None:
            line.abort()
        if self.upload is not None:
            await self.upload.stop()

    def _go_on(self) -> None:
        self._slowed = False
        if self._line is not None:
            self._line.go_on()

    def _take_some(self) -> bytes:
        pieces = self._pieces
        if len(pieces) > 1 and self._size > _JOINED and len(pieces) <= 16:
            self._size -= len(pieces[0])
            return pieces.pop(0)
        return self._take_all()

    def _take_all(self) -> bytes:
        pieces = self._pieces
        self._size = 0
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body
