"""Clients who end their side and wait, who have gone, and who do not read; on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest
import uvloop

from proxy.gateway import Answer, Inbound, ending
from tests.gateway.test_server import GET, Served, echo, hello, served

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PIECE = bytes(1 << 20)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Run a story on one of the loops."""

    def ran(story: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(story)

    return ran


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "PATIENCE", 0.1)


Run = Callable[[Coroutine[Any, Any, None]], None]


async def half_closed(at: Served, sent: bytes) -> bytes:
    """All that comes to a client that sends something and ends its side."""
    reader, writer = await at.connect()
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(5):
        got = await reader.read()
    writer.close()
    return got


async def emptied(at: Served) -> None:
    async with asyncio.timeout(5):
        while len(at.server.connections) or at.server.connections.stalled:
            await asyncio.sleep(0.01)


class Hanging:
    """Answers when it is told to.

    Attributes:
        came, left: when a request has come, and when its handler has ended.

    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.go_on, self.came, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._answer = answer

    async def __call__(self, inbound: Inbound) -> Answer:
        self.came.set()
        try:
            await self.go_on.wait()
        finally:
            self.left.set()
        return self._answer or await hello(inbound)


class Stream(httpx.AsyncByteStream):
    """So many pieces, and then nothing for ever."""

    def __init__(self, count: int) -> None:
        self.closed = asyncio.Event()
        self._count = count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._count):
            yield PIECE
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed.set()


# -- who ends its side -----------------------------------------------------------------------------------


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (GET, [b"200"]),
        (GET + GET, [b"200", b"200"]),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", [b"200"]),
        (POST + b"abc", [b"200"]),
        (b"garbage\r\n\r\n", [b"400"]),
        (POST + b"ab", []),
        (GET[:-2], []),
        (b"", []),
    ],
)
def test_who_sends_all_of_its_requests_and_ends_its_side_is_answered(
    run: Run, sent: bytes, answers: list[bytes]
) -> None:
    async def story() -> None:
        async with served(echo) as at:
            got = await half_closed(at, sent)
            assert [part[:3] for part in got.split(b"HTTP/1.1 ")[1:]] == answers
            await emptied(at)

    run(story())


def test_a_large_answer_comes_to_its_end_too(run: Run) -> None:
    async def large(_: Inbound) -> Answer:
        return Answer(200, [], 20 * PIECE)

    async def story() -> None:
        async with served(large) as at:
            assert len(await half_closed(at, GET)) > 20 << 20

    run(story())


def test_one_that_comes_slowly_too_even_if_it_had_begun(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Looked at while it comes; there is room for a machine that pauses.
    monkeypatch.setattr(ending, "PATIENCE", 0.5)

    class Slow(Stream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(self._count):
                yield b"piece"
                await asyncio.sleep(0.15)

    async def slow(_: Inbound) -> Answer:
        return Answer(200, [], Slow(5))

    async def story() -> None:
        async with served(slow) as at:
            reader, writer = await at.connect()
            writer.write(GET)
            await reader.readuntil(b"piece")
            writer.write_eof()
            async with asyncio.timeout(5):
                assert (await reader.read()).count(b"piece") == 4
            writer.close()

    run(story())


def test_who_ended_its_side_is_not_waited_for_long(run: Run) -> None:
    async def story() -> None:
        hanging = Hanging()
        async with served(hanging) as at:
            assert await half_closed(at, GET) == b""
            assert hanging.left.is_set()
            await emptied(at)
            assert [story.failure for story in at.stories] == ["the client went away"]

    run(story())


def test_who_has_gone_before_the_answer_began_is_noticed_when_it_begins(run: Run) -> None:
    async def story() -> None:
        stream = Stream(1)
        hanging = Hanging(Answer(200, [], stream))
        async with served(hanging) as at:
            _, writer = await at.connect()
            writer.write(GET)
            await hanging.came.wait()
            writer.close()
            hanging.go_on.set()
            async with asyncio.timeout(5):
                await stream.closed.wait()
            await emptied(at)

    run(story())


# -- who does not read -------------------------------------------------------------------------------------


async def deaf(at: Served, sent: bytes) -> socket.socket:
    """A client that sends something, and takes nothing."""
    client = socket.socket()
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", at.port))
    await loop.sock_sendall(client, sent)
    return client


def test_who_does_not_read_is_cut_off(run: Run) -> None:
    async def story() -> None:
        stream = Stream(100)

        async def forward(_: Inbound) -> Answer:
            return Answer(200, [], stream)

        async with served(forward, body_timeout=0.2) as at:
            with await deaf(at, GET) as client:
                async with asyncio.timeout(5):
                    await stream.closed.wait()
                await emptied(at)
                assert at.stories[0].returned < 20 << 20
                with pytest.raises(ConnectionResetError):
                    await drained(client)

    run(story())


async def drained(client: socket.socket) -> None:
    while await asyncio.get_running_loop().sock_recv(client, 1 << 20):
        pass


def test_nor_is_it_waited_for_when_the_answer_was_broken_off(run: Run) -> None:
    async def forward(_: Inbound) -> Answer:
        answer = Answer(200, [], Stream(100))
        answer.deadline = asyncio.get_running_loop().time() + 0.1
        return answer

    async def story() -> None:
        async with served(forward, body_timeout=0.3) as at:
            with await deaf(at, GET):
                await emptied(at)

    run(story())


def test_who_reads_slowly_is_not_cut_off(run: Run) -> None:
    async def large(_: Inbound) -> Answer:
        return Answer(200, [], 16 * PIECE)

    async def story() -> None:
        async with served(large, body_timeout=0.5) as at:
            with await deaf(at, GET) as client:
                loop = asyncio.get_running_loop()
                got = 0
                while got < 16 << 20:
                    got += len(await loop.sock_recv(client, 1 << 20))
                    await asyncio.sleep(0.05)

    run(story())


# -- who is sent away --------------------------------------------------------------------------------------


def test_who_is_sent_away_hears_why_though_nobody_read_what_it_sent(run: Run) -> None:
    async def story() -> None:
        hanging = Hanging()
        async with served(hanging, connections=1) as at:
            _, busy = await at.connect()
            busy.write(GET)
            await hanging.came.wait()
            clients = []
            for _ in range(20):
                with_much = socket.create_connection(("127.0.0.1", at.port))
                with_much.sendall(GET + bytes(100_000))
                with_much.setblocking(False)
                clients.append(with_much)
            for client in clients:
                with client:
                    assert b" 503 " in await asyncio.get_running_loop().sock_recv(client, 1 << 16)
                    assert await asyncio.get_running_loop().sock_recv(client, 1 << 16) == b""
            busy.close()
            hanging.go_on.set()
            await emptied(at)

    run(story())
