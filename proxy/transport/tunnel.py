"""The connection after a 101 (RFC 9110, section 7.8): bytes both ways, as they are, with backpressure."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from proxy.errors import ConnectionTerminated

_HIGH = 1 << 18  # bytes that wait to be read


class Wire(Protocol):
    """What a tunnel needs of its connection."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    async def drain(self) -> None:
        """Wait until more may be written. Raises ConnectionTerminated."""

    def slow(self) -> None:
        """Stop reading."""

    def go_on(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Close once everything is written."""


class Tunnel:
    """The ``network_stream`` of an answer; for one reader and any number of writers."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop, leftover: bytes) -> None:
        self._wire = wire
        self._loop = loop
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._slowed = self._ended = False
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        if leftover:
            self.feed(leftover)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _HIGH and not self._slowed:
            self._slowed = True
            self._wire.slow()
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """Note that nothing more will come."""
        self._ended = True
        if failure is not None and self._failure is None:
            self._failure = ConnectionTerminated(sent=True, begun=True)
        self._wake()

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, ``b""`` at the upstream's end.

        Raises:
            ConnectionTerminated: the connection broke.

        """
        while not self._pieces:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take(max_bytes)

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the upstream does not read.

        Raises:
            ConnectionTerminated: the connection is closed.

        """
        await self._wire.drain()
        self._wire.write(data)
        await self._wire.drain()

    async def aclose(self) -> None:
        """Close the connection, after what was written."""
        self._wire.close()

    def _take(self, max_bytes: int) -> bytes:
        piece = self._pieces.popleft()
        if len(piece) > max_bytes:
            self._pieces.appendleft(piece[max_bytes:])
            piece = piece[:max_bytes]
        self._size -= len(piece)
        if self._slowed and self._size <= _HIGH // 2:
            self._slowed = False
            self._wire.go_on()
        return piece

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
