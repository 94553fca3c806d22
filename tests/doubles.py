"""Doubles that several tests share: a clock that is told the time, and upstreams that play a script."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx

from proxy.clock import Clock
from proxy.transport import at_hand

START = 1_800_000_000.0


class FakeClock(Clock):
    """Time passes when `advance` says so; `slept` is what was asked for, `jumped` how far the wall clock was put."""

    def __init__(self, now: float = START) -> None:
        self.now = now
        self.jumped = 0.0
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def time(self) -> float:
        return self.now + self.jumped

    def monotonic(self) -> float:
        return self.now - START

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds > 0:
            await self._sleeper(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.Future[None]:
        sleeper = self._sleeper(max(0.0, seconds))
        sleeper.add_done_callback(lambda done: None if done.cancelled() else callback())
        return sleeper

    def _sleeper(self, seconds: float) -> asyncio.Future[None]:
        sleeper = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds, self._count, sleeper))
        return sleeper

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, waking sleepers in their order and letting each run."""
        until = self.now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                self.now = max(self.now, due)
                sleeper.set_result(None)
                await settle()
        self.now = until


class HurriedClock(FakeClock):
    """Sleeping takes no time at all, and moves the clock on."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(0.0, seconds)
        await asyncio.sleep(0)


async def settle(turns: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Script(httpx.AsyncBaseTransport):
    """A transport that plays answers or raises errors in their order, and keeps what it was sent.

    Attributes:
        requests: method, target and headers of each request.
        bodies: the body of each.
        wholes: the same where it was at hand.

    """

    def __init__(self, *steps: httpx.Response | Exception | int) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []
        self.bodies: list[bytes] = []
        self.wholes: list[bytes | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.wholes.append(at_hand(request.stream))
        self.bodies.append(b"".join([piece async for piece in request.stream]))
        # As it was when it was sent: a flow may change the same object afterwards.
        seen = httpx.Request(request.method, request.url, extensions=dict(request.extensions))
        seen.headers = request.headers.copy()
        self.requests.append(seen)
        step = self.steps.pop(0) if self.steps else 200
        if isinstance(step, Exception):
            raise step
        return answer(step) if isinstance(step, int) else step


class Pieces(httpx.AsyncByteStream):
    """A body in pieces; `closed` once somebody was done with it."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def answer(status: int, headers: list[tuple[bytes, bytes]] | None = None, *body: bytes) -> httpx.Response:
    """An answer with a body that streams."""
    return httpx.Response(status, headers=headers or [], stream=Pieces(*body))


Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(play: Play) -> AsyncIterator[int]:
    """A TCP server on a free port whose every connection is played by `play`; yields the port."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side had enough
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """The head of a message, its empty line included."""
    return await reader.readuntil(b"\r\n\r\n")
