"""A connection after ``101 Switching Protocols``: bytes pass both ways, and nobody looks at them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from proxy.gateway import Duplex, Story

MOST = 1 << 16  # bytes that wait to be taken on, in each direction


class Wire(Protocol):
    """The client's side of a connection."""

    def write(self, data: bytes) -> None:
        """Send soon; raises ConnectionError if the client has gone."""

    async def drain(self) -> None:
        """Wait while the client does not read."""

    def abort(self) -> None:
        """Break off, such that nobody takes what was sent for complete."""

    async def read(self) -> bytes:
        """What the client sent after an upgrade; empty at the end."""


class Upgraded:
    """What a client sends after an upgrade; in aiohttp's eyes a parser."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._arrived = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes, and take no more while too many wait."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MOST:
            self._transport.pause_reading()
        self._arrived.set()
        return False, b""

    def feed_eof(self) -> None:
        """The client has gone."""
        self._ended = True
        self._arrived.set()

    async def read(self) -> bytes:
        """Return what has arrived; empty at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._size > MOST and not self._transport.is_closing():
            self._transport.resume_reading()
        self._size = 0
        return data


async def both_ways(wire: Wire, duplex: Duplex, story: Story) -> None:
    """Pass bytes until either side ends (RFC 6455 leaves the closing to them)."""

    async def upstream_to_client() -> None:
        while data := await duplex.read(MOST):
            story.returned += len(data)
            wire.write(data)
            await wire.drain()

    async def client_to_upstream() -> None:
        while data := await wire.read():
            story.received += len(data)
            await duplex.write(data)

    ways = {asyncio.create_task(upstream_to_client()), asyncio.create_task(client_to_upstream())}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await duplex.aclose()
