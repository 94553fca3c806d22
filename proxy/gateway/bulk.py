"""What is still to come of a large body whose length is known: it needs no parser, which would copy it once more.

And if nothing of it is kept, it does not become an object either: it is read into memory that is used again, and
written from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from proxy.transport import Sink

WORTH_IT = 1 << 20  # bytes to come
_HIGH = 1 << 19  # bytes that wait to be taken before the client is slowed down …
_LOW = 1 << 18  # … and where it may go on
_SIZE = 1 << 18  # bytes that are read at once
_SMALL = 1 << 14  # bytes that are worth a copy to have their buffer back


class Bulk:
    """The rest of a body, as it comes from the client.

    Args:
        pipe: paused while more waits here than is taken.
        start: what has come already.
        rest: how many bytes are to come.

    Attributes:
        rest: the same, now.

    """

    def __init__(self, pipe: asyncio.Transport, start: bytes, rest: int) -> None:
        self.rest = rest
        self._pipe = pipe
        self._pieces = deque([start] if start else [])
        self._size = len(start)
        self._is_paused = False
        self._is_given_up = False
        self._waiter: asyncio.Future[None] | None = None
        self._at_end: list[Callable[[], None]] = []

    # -- the connection's side -----------------------------------------------------------------------

    def feed(self, data: bytes) -> bytes:
        """Take what has come; return what does not belong to the body any more."""
        surplus = b""
        if len(data) > self.rest:
            data, surplus = data[: self.rest], data[self.rest :]
        self._pieces.append(data)
        self._size += len(data)
        self.came(len(data))
        # What comes behind the body is not to wait for those who take the body: they may leave it.
        if self.rest and self._size > _HIGH and not self._is_paused:
            self._is_paused = True
            self._pipe.pause_reading()
        return surplus

    def came(self, size: int) -> None:
        """Count bytes down, and tell who waits for them or for the end."""
        self.rest -= size
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if not self.rest:
            self._end()

    def on_eof(self, callback: Callable[[], None]) -> None:
        """Have `callback` called when there is no more to come, or now."""
        if self.is_eof():
            callback()
        else:
            self._at_end.append(callback)

    def _end(self) -> None:
        for callback in self._at_end:
            callback()
        self._at_end.clear()

    # -- the reader's side ---------------------------------------------------------------------------

    def is_eof(self) -> bool:
        """As `Content.is_eof`."""
        return not self.rest or self._is_given_up

    def read_nowait(self) -> bytes:
        """As `Content.read_nowait`."""
        if not self._pieces:
            return b""
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._is_paused and self._size <= _LOW:
            self._is_paused = False
            if not self._pipe.is_closing():
                self._pipe.resume_reading()
        return piece

    async def readany(self) -> bytes:
        """As `Content.readany`."""
        if not self._pieces and not self.is_eof():
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self.read_nowait()

    def feed_eof(self) -> None:
        """As `Content.feed_eof`."""
        self._is_given_up = True
        self.came(0)
        self._end()

    async def pour(self, sink: Sink, took: Callable[[int], None], patience: float | None) -> None:
        """Write all that is to come to `sink`.

        Args:
            sink: raises what it likes.
            took: told how many bytes each time were written.
            patience: seconds between two pieces; None for any time.

        Raises:
            TimeoutError: the client took longer.

        """
        while piece := self.read_nowait():
            took(len(piece))
            sink.write(piece)
            await sink.drain()
        if not self.is_eof():
            await _Pouring(self, self._pipe, sink, took).run(patience)


class _Pouring(asyncio.BufferedProtocol):
    """Stands in a connection's place while its body is read.

    Of its buffers the first is the one that is used; the others only while something has yet to leave those before.
    """

    def __init__(self, bulk: Bulk, pipe: asyncio.Transport, sink: Sink, took: Callable[[int], None]) -> None:
        self._bulk = bulk
        self._pipe = pipe
        self._sink = sink
        self._took = took
        self._loop = asyncio.get_running_loop()
        self._buffers = [memoryview(bytearray(_SIZE))]
        self._at = 0
        self._active = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._failure: Exception | None = None
        self._is_full = False
        self._connection = cast("asyncio.Protocol", pipe.get_protocol())

    async def run(self, patience: float | None) -> None:
        """Read and write until there is no more to come."""
        self._stand_in(self)
        if patience is not None:
            self._look(patience)
        try:
            while not self._bulk.is_eof():
                await self._waiter
                self._waiter = self._loop.create_future()
                if self._failure is not None:
                    raise self._failure
                if self._is_full:
                    await self._sink.drain()
                    self._is_full = False
                    self._active = self._loop.time()
                    if not self._pipe.is_closing():
                        self._pipe.resume_reading()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._pipe.get_protocol() is self:
                self._stand_in(self._connection)

    def _stand_in(self, protocol: asyncio.BaseProtocol) -> None:
        if not self._pipe.is_closing():
            self._pipe.pause_reading()  # libuv asks whom it tells when it begins
            self._pipe.set_protocol(protocol)
            self._pipe.resume_reading()

    def _look(self, patience: float) -> None:
        """Give up a client that has sent nothing, though it might have, for too long."""
        left = self._active + patience - self._loop.time()
        if left <= 0 and not self._is_full:
            self._failure = TimeoutError()
            self._wake()
        else:
            self._timer = self._loop.call_later(left if left > 0 else patience, self._look, patience)

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    # -- the loop's side -----------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # asyncio's signature
        """Return where the next bytes go: never more than belong to the body."""
        if self._at and not self._sink.unsent:
            self._at = 0
        if self._at == len(self._buffers):
            self._buffers.append(memoryview(bytearray(_SIZE)))
        return self._buffers[self._at][: self._bulk.rest]

    def buffer_updated(self, nbytes: int) -> None:
        """Write what has come."""
        self._active = self._loop.time()
        piece = self._buffers[self._at][:nbytes]
        sink = self._sink
        try:
            self._took(nbytes)
            sink.write(bytes(piece) if nbytes <= _SMALL else piece)
        except Exception as failure:  # noqa: BLE001  # the loop would only log it
            self._failure = failure
            self._wake()
        if sink.unsent:
            self._at += nbytes > _SMALL
            if sink.is_full:
                self._is_full = True
                self._pipe.pause_reading()
                self._wake()
        self._bulk.came(nbytes)
        if not self._bulk.rest:
            self._stand_in(self._connection)
            self._wake()

    # What else happens is the connection's to know.

    def pause_writing(self) -> None:
        """As `asyncio.BaseProtocol.pause_writing`."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """As `asyncio.BaseProtocol.resume_writing`."""
        self._connection.resume_writing()

    def eof_received(self) -> bool | None:
        """As `asyncio.BufferedProtocol.eof_received`."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """As `asyncio.BaseProtocol.connection_lost`."""
        self._connection.connection_lost(exc)
