"""An upstream that plays a script, byte for byte, over a real loopback socket, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.sockets import reset

Script = Callable[["Line"], Awaitable[None]]


class Line:
    """The upstream's end of one connection.

    Attributes:
        received: every byte that came.
        ended: set when the other side closed, or broke it.
        tls: the TLS on it, if there is any.

    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self._reader = reader
        self.writer = writer
        self.number = number
        self.tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        self.received = b""
        self.ended = asyncio.Event()

    async def head(self) -> bytes:
        """Read a request's head."""
        return self._keep(await self._reader.readuntil(b"\r\n\r\n"))

    async def exactly(self, size: int) -> bytes:
        """Read some bytes."""
        return self._keep(await self._reader.readexactly(size))

    async def until(self, end: bytes) -> bytes:
        """Read up to a mark."""
        return self._keep(await self._reader.readuntil(end))

    async def some(self, size: int) -> bytes:
        """Read what there is."""
        return self._keep(await self._reader.read(size))

    async def end(self) -> None:
        """Read until the other side closes."""
        with suppress(ConnectionError, ssl.SSLError):
            self._keep(await self._reader.read())
        self.ended.set()

    def send(self, *pieces: bytes) -> None:
        """Send bytes; once the other side has closed, they go nowhere."""
        for piece in pieces:
            if not self.writer.is_closing():
                self.writer.write(piece)

    async def send_slowly(self, data: bytes, size: int = 1) -> None:
        """Send bytes in small pieces, each in a packet of its own."""
        for start in range(0, len(data), size):
            self.writer.write(data[start : start + size])
            await self.writer.drain()
            await asyncio.sleep(0)

    async def drain(self) -> None:
        """Wait until it is sent."""
        await self.writer.drain()

    def close(self) -> None:
        """Close properly."""
        self.writer.close()

    def finish(self) -> None:
        """Send no more, but read on."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Break the connection off."""
        reset(self.writer)

    def _keep(self, data: bytes) -> bytes:
        self.received += data
        return data


class Upstream:
    """A server on a free port that plays one script on each of its connections."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, uds: Path | None = None) -> None:
        self._script = script
        self.tls = tls
        self._uds = uds
        self._arrival = asyncio.Condition()
        self._failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: list[socket.socket] = []
        self.lines: list[Line] = []
        self.port = 0

    @property
    def url(self) -> httpx.URL:
        """Its origin."""
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        return httpx.URL(f"{scheme}://{host}:{self.port}/")

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET if self._uds is None else socket.AF_UNIX)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0) if self._uds is None else str(self._uds))
        self._socket.listen(1024)
        if self._uds is None:
            self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._accept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._socket.close()
        for line in self.lines:
            with suppress(AttributeError):  # asyncio's TLS of Python 3.11.2, when it was closed before
                line.writer.transport.abort()
            with suppress(OSError):
                await line.writer.wait_closed()
        for wire in self._wires:
            wire.close()
        if kind is None and self._failures:
            raise self._failures[0]

    async def line(self, number: int = 0) -> Line:
        """Wait for a connection, counted from 0."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.lines) > number)
        return self.lines[number]

    def _accept(self) -> None:
        # Not sock_accept: what it has accepted is lost when it is cancelled.
        wire, _ = self._socket.accept()
        wire.setblocking(False)
        if self._uds is None:
            # asyncio leaves it out where the socket does not name its protocol.
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wires.append(wire)
        task = asyncio.ensure_future(self._serve(wire))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, wire: socket.socket) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            line = Line(*await self._streams(wire), len(self.lines))
            self.lines.append(line)
            async with self._arrival:
                self._arrival.notify_all()
            try:
                await self._script(line)
            except (asyncio.IncompleteReadError, ConnectionError):
                line.ended.set()
            except AssertionError as failure:
                self._failures.append(failure)
            line.writer.close()

    async def _streams(self, wire: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 24, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, wire, ssl=self.tls)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def answers(*scripted: bytes) -> Script:
    """Answer each request's head by the next bytes, then wait for the end."""

    async def play(line: Line) -> None:
        for data in scripted:
            await line.head()
            line.send(data)
        await line.end()

    return play


def always(data: bytes) -> Script:
    """Answer every request's head by the same bytes."""

    async def play(line: Line) -> None:
        while True:
            await line.head()
            line.send(data)

    return play
