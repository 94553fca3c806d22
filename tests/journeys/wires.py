"""Both ends of the proxy as bytes: a client that says exactly what it is told, and an API that records.

Nothing here repairs or interprets more than it must: what is asserted is what passed over the wire.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.sockets import reset

PATIENCE = 10.0  # seconds that anything may take before the test fails
HEAD = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Fields = list[tuple[bytes, bytes]]


def split_head(head: bytes) -> tuple[bytes, Fields]:
    """First line and fields of a head, as they are."""
    start, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon, f"not a field: {line!r}"
        fields.append((name, value.strip(b" \t")))
    return start, fields


@dataclass
class Message:
    """A request or an answer.

    Attributes:
        raw: its head, byte for byte.
        connection: by which of the API's connections it came, from 0.
        interim: status lines of the 1xx answers before it.

    """

    start: bytes
    fields: Fields
    body: bytes = b""
    raw: bytes = b""
    connection: int = 0
    interim: list[bytes] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        return [value for given, value in self.fields if given.lower() == name.lower().encode()]

    def get(self, name: str) -> bytes | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def told(self) -> bytes:
        """What Proxy-Status tells; empty if there is none."""
        return self.get("Proxy-Status") or b""

    @property
    def problem(self) -> dict[str, Any]:  # Any: JSON
        """The body of an answer of the proxy's own, which says so in every way that it should."""
        assert self.get("Content-Type") == b"application/problem+json", (self.start, self.fields, self.body)
        problem: dict[str, Any] = json.loads(self.body)
        assert {"type", "title", "status", "detail", "route", "request_id"} <= problem.keys()
        assert problem["status"] == self.status
        assert self.told.startswith(b"countersign; error=")
        assert self.get("Server") is None
        return problem

    @property
    def error(self) -> str:
        """The error type (RFC 9209) of an answer of the proxy's own."""
        assert self.problem
        return self.told.partition(b"error=")[2].partition(b";")[0].decode()


class Line:
    """One end of a connection: `received` is everything that ever came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.received = bytearray()
        self._at = 0
        self.ended = asyncio.Event()
        self.was_reset = False

    async def _more(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self._reader.read(1 << 16)
        except ConnectionError:
            self.was_reset = True
            data = b""
        self.received += data
        if not data:
            self.ended.set()
        return bool(data)

    async def until(self, mark: bytes) -> bytes:
        """Everything to the end of `mark`."""
        while (found := self.received.find(mark, self._at)) < 0:
            if not await self._more():
                raise asyncio.IncompleteReadError(bytes(self.received[self._at :]), None)
        return self._taken(found + len(mark))

    async def exactly(self, size: int) -> bytes:
        while len(self.received) < self._at + size:
            if not await self._more():
                raise asyncio.IncompleteReadError(bytes(self.received[self._at :]), size)
        return self._taken(self._at + size)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while await self._more():
            pass
        return self._taken(len(self.received))

    async def piece(self) -> bytes:
        """What is there, at least a byte of it; empty at the end."""
        if self._at == len(self.received):
            await self._more()
        return self._taken(len(self.received))

    def _taken(self, until: int) -> bytes:
        data = bytes(self.received[self._at : until])
        self._at = until
        return data

    def forget(self) -> None:
        """Let go of what has been read: it is much."""
        del self.received[: self._at]
        self._at = 0

    async def send(self, *pieces: bytes) -> None:
        """Send, each piece in a write of its own."""
        for piece in pieces:
            self.writer.write(piece)
            async with asyncio.timeout(PATIENCE):
                await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """As `tests.sockets.reset`."""
        reset(self.writer)

    async def chunks(self) -> bytes:
        """A chunked body, strictly read; its trailer section is kept in `trailer`."""
        body = bytearray()
        while True:
            size = int((await self.until(b"\r\n")).removesuffix(b"\r\n"), 16)
            if not size:
                break
            body += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"
        self.trailer = b""
        while (line := await self.until(b"\r\n")) != b"\r\n":
            self.trailer += line
        return bytes(body)

    async def request(self) -> Message:
        """A request, as only one reading of it allows."""
        raw = await self.until(b"\r\n\r\n")
        message = Message(*split_head(raw), raw=raw)
        length, coding = message.get("Content-Length"), message.get("Transfer-Encoding")
        assert length is None or coding is None, raw
        if coding is not None:
            assert coding == b"chunked"
            message.body = await self.chunks()
        elif length is not None:
            message.body = await self.exactly(int(length))
        return message

    async def answer(self, method: str = "GET") -> Message:
        """An answer, its 1xx ones included."""
        interim: list[bytes] = []
        while True:
            raw = await self.until(b"\r\n\r\n")
            message = Message(*split_head(raw), raw=raw, interim=interim)
            if message.status >= 200 or message.status == 101:
                break
            interim.append(message.start)
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        length, coding = message.get("Content-Length"), message.get("Transfer-Encoding")
        assert length is None or coding is None, raw
        if coding is not None:
            message.body = await self.chunks()
        else:
            message.body = await (self.rest() if length is None else self.exactly(int(length)))
        return message


Step = bytes | Callable[[Message, Line], Awaitable[None]]


class Api:
    """An API that plays a script, a step an answer, and then says ok to everything.

    Attributes:
        messages: the complete requests that came.
        lines: its connections.

    """

    def __init__(self, *script: Step) -> None:
        self.script = list(script)
        self.always: Step = OK
        self.messages: list[Message] = []
        self.lines: list[Line] = []
        self.port = 0
        self._came = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def heard(self) -> bytes:
        """Every byte that ever came."""
        return b"".join(bytes(line.received) for line in self.lines)

    async def came(self, condition: Callable[[], object]) -> None:
        """Wait until `condition` holds; asked each time that something came."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        line = Line(reader, writer)
        number = len(self.lines)
        self.lines.append(line)
        try:
            while True:
                if await self._one(line, number):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the other side had enough
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _one(self, line: Line, number: int) -> bool:
        raw = await line.until(b"\r\n\r\n")
        line._at -= len(raw)
        step = self._next()
        if getattr(step, "early", False):
            message = Message(*split_head(await line.until(b"\r\n\r\n")), raw=raw)
        else:
            message = await line.request()
        message.connection = number
        self.messages.append(message)
        if isinstance(step, bytes):
            await line.send(step)
            return b"\r\nconnection: close" in step.lower()
        await step(message, line)
        return line.writer.is_closing()

    def _next(self) -> Step:
        return self.script.pop(0) if self.script else self.always

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self.lines:
            line.reset()
            with suppress(Exception):
                await line.writer.wait_closed()


def early(step: Callable[[Message, Line], Awaitable[None]]) -> Step:
    """A step that is played when the head has come, and reads the body itself."""
    step.early = True  # type: ignore[attr-defined]  # a mark
    return step


def closing(data: bytes = b"") -> Step:
    """A step that says `data` and then ends the connection."""

    async def step(_: Message, line: Line) -> None:
        await line.send(data)
        line.close()

    return step


def resetting(data: bytes = b"") -> Step:
    """A step that says `data`, sees that it has left, and then resets the connection."""

    async def step(_: Message, line: Line) -> None:
        await line.send(data)
        await asyncio.sleep(0.05)
        line.reset()

    return step


def answer(status: int, body: bytes = b"", *fields: str) -> bytes:
    """The bytes of an answer with a Content-Length."""
    head = [f"HTTP/1.1 {status} Said", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*pieces: bytes) -> bytes:
    """A body in chunks, its end included."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def slices(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def curl(url: str, *options: str) -> tuple[int, bytes]:
    """Exit code and output of curl: a client that no one here wrote."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "5", *options, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out
