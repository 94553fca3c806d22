"""A request's body: streamed on, and kept meanwhile for a replay.

What has been read is kept in memory up to one limit, then in a file without a name up to another. A body
over both streams on, but can't be sent a second time; one that says so beforehand spares the disk.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import suppress
from typing import IO

import httpx
from pydantic import Field

from proxy.errors import BodyTooLarge, InternalError
from proxy.gateway import BodySource
from proxy.threads import Threads
from proxy.transport import Sink
from proxy.values import Model, Size

_PIECE = 1 << 16
SPOOLING = 8  # bodies of one route that are written or read at once
PATIENCE = 5.0  # seconds that the disk may take for a piece


class LimitSettings(Model):
    """``[limits]``; all sizes in bytes."""

    replay_memory: Size = 1 << 20
    replay_disk: Size = 256 << 20
    body: Size = 0
    concurrency: int = Field(default=0, ge=0)


class BodyNotKept(BodyTooLarge):
    """The body was over the limits, so that a second sending, or signing it first, is not possible."""


class NoBody(httpx.AsyncByteStream):
    """The body of a request that has none."""

    replayable = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for piece in nothing:
            yield piece

    async def aclose(self) -> None:
        """Nothing to close."""


NO_BODY = NoBody()


class WholeBody(httpx.AsyncByteStream):
    """A small body that was there with its head: it can be sent at once, and again."""

    replayable = True

    def __init__(self, content: bytes) -> None:
        self._content = content

    def whole(self) -> bytes:
        """Return all of it."""
        return self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content

    async def aclose(self) -> None:
        """Nothing to close."""


class Body(httpx.AsyncByteStream):
    """A body that may be iterated again: first what was kept, then what the client has yet to send.

    Args:
        source: where it comes from.
        limits: how much may be kept.
        length: its announced length in bytes; None if it is chunked.
        spool: the threads that write and read the file, the same for a whole route.

    Attributes:
        replayable: whether all that was read is still there.
        keepable: whether all of it can be kept; None if its length is not known.
        received: bytes read from the client so far.

    """

    def __init__(
        self, source: BodySource, limits: LimitSettings, length: int | None = None, spool: Threads | None = None
    ) -> None:
        self._source = source
        self._pieces: AsyncIterator[bytes] | None = None
        self._limits = limits
        most = limits.replay_memory + limits.replay_disk
        self.keepable = None if length is None else length <= most
        # A file that would be thrown away all the same costs as much as the sending.
        self._room = limits.replay_memory if self.keepable is False else most
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._file_lock = threading.Lock()  # a reader that was cancelled may still be at it in its thread
        self._spool = spool or Threads("spool", SPOOLING)
        self._on_disk = 0
        self._spooled = self._closed = False
        self._writing: Future[None] | None = None
        self._ended = False
        self._failure: Exception | None = None
        self.replayable = True
        self.received = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the whole body from its start.

        Raises:
            BodyNotKept: it was read before and was over the limits.
            BodyTooLarge: it is over ``limits.body``.
            MalformedRequest, RequestTimeout: as its source says, and again whenever it is asked.

        """
        await self._written()
        if not self.replayable:
            raise BodyNotKept("the request's body is too large to be kept for this")
        if self.received:
            async for kept in self._kept():
                yield kept
        while (piece := await self._next()) is not None:
            await self._keep(piece)
            yield piece

    async def pour(self, sink: Sink) -> None:
        """Have what is yet to come written as it comes, if nothing of it is kept and its source can do that."""
        pour = getattr(self._source, "pour", None)
        if pour is not None and not self.replayable:
            await pour(sink, self._took)

    def _took(self, size: int) -> None:
        self.received += size

    async def _next(self) -> bytes | None:
        """Return what the client sends next, or None at the end."""
        if self._failure is not None:
            raise self._failure
        if self._ended:
            return None
        if self._pieces is None:
            self._pieces = self._source()
        try:
            return await anext(self._pieces)
        except StopAsyncIteration:
            self._ended = True
            return None
        except asyncio.CancelledError:
            # Ends a generator, but not the body: the next to ask goes on where this one stopped.
            self._pieces = None
            raise
        except Exception as failure:
            # Ends a generator, too: what comes after must not look like the body's end.
            self._failure = failure
            raise

    async def _kept(self) -> AsyncIterator[bytes]:
        offset, on_disk = 0, self._on_disk
        while offset < on_disk:
            piece = await self._read(offset, min(_PIECE, on_disk - offset))
            offset += len(piece)
            yield piece
        view = bytes(self._memory)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]

    async def _keep(self, piece: bytes) -> None:
        self.received += len(piece)
        if self._limits.body and self.received > self._limits.body:
            self._failure = BodyTooLarge("the request's body is over limits.body")
            raise self._failure
        if not self.replayable:
            return
        if self.received > self._room:
            self.replayable = False
            await self._drop()
            return
        self._memory += piece
        if len(self._memory) > self._limits.replay_memory:
            full, self._memory = self._memory, bytearray()
            try:
                self._writing = self._spool.submit(self._spill, full)
                self._spooled = True
            except OSError:  # there is no thread for it
                self.replayable = False
                await self._drop()
            await self._written()

    async def _written(self) -> None:
        """Wait for what is on its way to the disk; where that can't be written in time, the body is just not kept."""
        if self._writing is None:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                # Shielded: what a cancelled writer leaves behind would be half a piece.
                await asyncio.shield(asyncio.wrap_future(self._writing))
        except OSError:
            self.replayable = False
            await self._drop()
        self._writing = None

    async def _read(self, offset: int, size: int) -> bytes:
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.wrap_future(self._spool.submit(self._read_at, offset, size))
        except OSError:
            raise InternalError("the request's body can't be read again from where it was kept") from None

    def _spill(self, pieces: bytearray) -> None:
        with self._file_lock:
            if self._closed:
                return
            if self._file is None:
                # Without a name: nobody else can open it, and nothing is left behind by a crash.
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the body
            self._file.seek(self._on_disk)
            self._file.write(pieces)
            self._file.flush()
            self._on_disk += len(pieces)

    def _read_at(self, offset: int, size: int) -> bytes:
        with self._file_lock:
            assert self._file is not None
            self._file.seek(offset)
            return self._file.read(size)

    def _close(self) -> None:
        with self._file_lock:
            self._closed = True
            if self._file is not None:
                with suppress(OSError):  # a full disk once more; the file is closed all the same
                    self._file.close()
                self._file = None

    async def _drop(self) -> None:
        """Drop what was kept; the file is closed in a thread, since another one may still be at it."""
        self._memory = bytearray()
        if not self._spooled:
            return
        writing = self._writing
        is_free = writing is None or writing.cancel() or writing.done()
        with suppress(OSError):  # the disk hangs; or there is no thread, and the file is closed with this body
            closing = asyncio.wrap_future(self._spool.submit(self._close))
            if is_free:
                async with asyncio.timeout(PATIENCE):
                    await asyncio.shield(closing)

    async def aclose(self) -> None:
        """Let go of what was kept."""
        self.replayable = False
        await self._drop()
