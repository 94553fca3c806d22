"""The server over real sockets: framing, keep-alive, limits, and nothing of aiohttp's own."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import http_parser

from proxy.errors import ConfigError, ProxyError, ResponseIncomplete
from proxy.gateway import Answer, Entrance, Inbound, Story, server
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.server import Server
from tests.doubles import HurriedClock, Pieces

Forward = Callable[[Inbound], Awaitable[Answer]]


class Served:
    """A server in front of a function.

    Attributes:
        stories: those of the requests that are over.

    """

    def __init__(self, server: Server, port: int, stories: list[Story]) -> None:
        self.server = server
        self.port = port
        self.stories = stories

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def talk(self, *pieces: bytes) -> bytes:
        """Send pieces on one connection, and return all that comes until it is closed."""
        reader, writer = await self.connect()
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(5):
                return await reader.read()
        except ConnectionResetError:
            return b"reset"
        finally:
            writer.close()


@asynccontextmanager
async def served(forward: Forward, **settings: Any) -> AsyncIterator[Served]:
    stories: list[Story] = []
    server = Server(forward, ConnectionSettings.model_validate(settings), HurriedClock(), stories.append)
    listening = await asyncio.get_running_loop().create_server(server.protocol(Entrance("here")), "127.0.0.1", 0)
    try:
        yield Served(server, listening.sockets[0].getsockname()[1], stories)
    finally:
        listening.close()
        server.connections.close()
        await asyncio.sleep(0)


async def hello(inbound: Inbound) -> Answer:
    return Answer(200, [(b"X-Bytes", b"\xff\xe9")], b"hello")


async def echo(inbound: Inbound) -> Answer:
    body = b"".join([piece async for piece in inbound.body()]) if inbound.body else b""
    return Answer(200, [(b"X-Length", str(inbound.length).encode())], body)


GET = b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_bytes_that_are_no_utf8_survive_in_both_directions() -> None:
    seen: list[Any] = []

    async def forward(inbound: Inbound) -> Answer:
        seen.append((inbound.method, inbound.target, list(inbound.head.raw), inbound.version, inbound.entrance.name))
        return await hello(inbound)

    async with served(forward) as at:
        got = await at.talk(b"GET /%ff?q HTTP/1.1\r\nhOst: x\r\nX: \xff\xe9\r\nConnection: close\r\n\r\n")
    assert got == b"HTTP/1.1 200 OK\r\nX-Bytes: \xff\xe9\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    fields = [(b"hOst", b"x"), (b"X", b"\xff\xe9"), (b"Connection", b"close")]
    assert seen == [("GET", b"/%ff?q", fields, (1, 1), "here")]


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with served(hello) as at:
        got = await at.talk(GET, GET, LAST)
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.count(b"Connection: close") == 1


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async def forward(inbound: Inbound) -> Answer:
        return Answer(200, [], inbound.target)

    async with served(forward) as at:
        got = await at.talk(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)
    assert got.find(b"/1") < got.find(b"/2") < got.find(b"/last")


@pytest.mark.parametrize(
    ("sent", "length", "body"),
    [
        (b"Content-Length: 3\r\n\r\nabc", b"3", b"abc"),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: x\r\n\r\n", b"None", b"abc"),
        (b"Content-Length: 0\r\n\r\n", b"None", b""),
        (b"\r\n", b"None", b""),
    ],
)
async def test_bodies_as_they_are_framed(sent: bytes, length: bytes, body: bytes) -> None:
    async with served(echo) as at:
        got = await at.talk(b"POST / HTTP/1.1\r\nHost: x\r\n" + sent, LAST)
    first = got.split(b"HTTP/1.1 ")[1]
    assert b"X-Length: " + length in first
    assert first.endswith(b"\r\n\r\n" + body)


async def test_a_gzipped_body_is_not_unpacked() -> None:
    async with served(echo) as at:
        got = await at.talk(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"
        )
    assert got.endswith(b"\x1f\x8b\x00")


async def test_100_continue_is_sent_when_the_body_is_wanted() -> None:
    async with served(echo) as at:
        reader, writer = await at.connect()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"close" not in head
        writer.close()


async def test_without_interest_in_the_body_the_connection_ends_instead_of_100_continue() -> None:
    async with served(hello) as at:
        got = await at.talk(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in got


async def test_http_1_0_gets_no_100_continue_and_no_chunks() -> None:
    async def forward(inbound: Inbound) -> Answer:
        return Answer(200, [], Pieces(await _body(inbound), b"!"))

    async with served(forward) as at:
        got = await at.talk(b"PUT / HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok")
    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok!"


async def _body(inbound: Inbound) -> bytes:
    assert inbound.body
    return b"".join([piece async for piece in inbound.body()])


async def test_http_1_0_can_keep_its_connection_alive() -> None:
    async with served(hello) as at:
        got = await at.talk(
            b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", b"GET / HTTP/1.0\r\nHost: x\r\n\r\n"
        )
    assert got.count(b"200 OK") == 2
    assert b"Connection: keep-alive" in got


async def test_a_broken_off_answer_never_looks_complete() -> None:
    class Broken(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"half"
            raise ResponseIncomplete

    async def forward(inbound: Inbound) -> Answer:
        return Answer(200, [], Broken())

    async with served(forward) as at:
        for version in (b"1.1", b"1.0"):
            got = await at.talk(b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n")
            assert got == b"reset" or not got.endswith(b"0\r\n\r\n")
            assert version == b"1.1" or got == b"reset"
    assert [story.complete for story in at.stories] == [False, False]
    assert at.stories[0].error == "http_response_incomplete"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n", 400),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 129 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: " + b"a" * 9_000 + b"\r\n") * 4 + b"\r\n", 431),
    ],
)
async def test_what_the_parser_refuses_is_answered_by_us(sent: bytes, status: int) -> None:
    async with served(hello) as at:
        got = await at.talk(sent)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close" in head
    assert b"Proxy-Status: countersign; error=http_request_error" in head
    assert b"Server" not in head
    assert json.loads(body)["status"] == status
    assert b"a" * 20 not in body
    assert b"NONSENSE" not in body
    assert at.stories[-1].status == status


async def test_a_head_that_grows_without_end_is_cut_off() -> None:
    async with served(hello, header_size="1KiB") as at:
        got = await at.talk(b"GET / HTTP/1.1\r\nHost: x\r\n", *[b"X: " + b"a" * 500 + b"\r\n"] * 3)
    assert b" 431 " in got


async def test_a_slow_head_is_408() -> None:
    async with served(hello, header_timeout="50ms") as at:
        assert b" 408 " in await at.talk(b"GET / HT")


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with served(hello, header_timeout="50ms") as at:
        assert await at.talk() == b""


async def test_a_slow_body_is_told_to_whoever_reads_it() -> None:
    failures: list[Exception] = []

    async def forward(inbound: Inbound) -> Answer:
        try:
            await _body(inbound)
        except ProxyError as failure:
            failures.append(failure)
        return Answer(408, [], close=True)

    async with served(forward, body_timeout="50ms") as at:
        got = await at.talk(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    assert got.startswith(b"HTTP/1.1 408")
    assert [type(failure).__name__ for failure in failures] == ["RequestTimeout"]


async def test_garbage_after_forwarding_began_is_told_to_whoever_reads_the_body() -> None:
    failures: list[Exception] = []
    began = asyncio.Event()

    async def forward(inbound: Inbound) -> Answer:
        assert inbound.body
        try:
            async for _ in inbound.body():
                began.set()
        except ProxyError as failure:
            failures.append(failure)
        return Answer(400, [], close=True)

    async with served(forward) as at:
        reader, writer = await at.connect()
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await began.wait()
        writer.write(b"zz\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
        got = await reader.read()
        writer.close()
    assert got.count(b"HTTP/1.1") == 1
    assert [type(failure).__name__ for failure in failures] == ["MalformedRequest"]


async def test_a_client_that_leaves_cancels_its_request() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def forward(inbound: Inbound) -> Answer:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with served(forward) as at:
        _, writer = await at.connect()
        writer.write(GET)
        await entered.wait()
        writer.close()
        async with asyncio.timeout(1):
            await left.wait()
    assert at.stories[0].failure == "the client went away"


async def test_the_answer_is_cleaned_up_whatever_happens() -> None:
    cleaned: list[int] = []

    async def cleanup() -> None:
        cleaned.append(1)

    async def forward(inbound: Inbound) -> Answer:
        return Answer(200, [], b"x", cleanup=cleanup)

    async with served(forward) as at:
        await at.talk(LAST)
    assert cleaned == [1]


@pytest.mark.parametrize("pieces", [[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], [b"\x16", b"\x03\x01"]])
async def test_a_tls_hello_is_refused_at_once(pieces: list[bytes]) -> None:
    async with served(hello) as at:
        got = await at.talk(*pieces)
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"a client spoke TLS; use http://" in got


async def test_a_tls_client_says_that_it_is_no_tls() -> None:
    context = ssl.create_default_context()
    async with served(hello) as at:
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number|record layer failure|packet length"):
            await asyncio.open_connection("127.0.0.1", at.port, ssl=context, server_hostname="localhost")


def test_without_the_parser_in_c_nothing_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    server.require_parser()
    monkeypatch.setattr(server, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ConfigError, match=r"C parser.*expected"):
        server.require_parser()


async def test_draining_lets_the_request_end_and_then_the_connection() -> None:
    go_on, entered = asyncio.Event(), asyncio.Event()

    async def forward(inbound: Inbound) -> Answer:
        entered.set()
        await go_on.wait()
        return await hello(inbound)

    async with served(forward) as at:
        reader, writer = await at.connect()
        writer.write(GET)
        await entered.wait()
        draining = asyncio.create_task(at.server.connections.drain(5))
        await asyncio.sleep(0)
        go_on.set()
        got = await reader.read()
        await draining
        writer.close()
    assert b"200 OK" in got
    assert b"Connection: close" in got


async def test_who_outlives_the_grace_is_told_so() -> None:
    entered = asyncio.Event()

    async def forward(inbound: Inbound) -> Answer:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with served(forward) as at:
        reader, writer = await at.connect()
        writer.write(GET)
        await entered.wait()
        await at.server.connections.drain(0.01)
        got = await reader.read()
        writer.close()
    assert got.startswith(b"HTTP/1.1 503")
    assert b"Retry-After: 1" in got


async def test_at_the_limit_the_idlest_makes_room() -> None:
    async with served(hello, connections=2) as at:
        idle = await at.connect()
        idle[1].write(GET)
        await idle[0].readuntil(b"hello")
        slow = await at.connect()
        slow[1].write(b"GET / HT")
        assert b"200 OK" in await at.talk(LAST)
        assert await idle[0].read() == b""
        for _, writer in (idle, slow):
            writer.close()


async def test_bytes_pass_both_ways_after_an_upgrade() -> None:
    class Loop:
        """A duplex that says everything twice."""

        def __init__(self) -> None:
            self.queue: asyncio.Queue[bytes] = asyncio.Queue()
            self.closed = asyncio.Event()

        async def read(self, max_bytes: int) -> bytes:
            return await self.queue.get()

        async def write(self, data: bytes) -> None:
            self.queue.put_nowait(data * 2)

        async def aclose(self) -> None:
            self.closed.set()

    loop = Loop()

    async def forward(inbound: Inbound) -> Answer:
        return Answer(101, [(b"Sec-WebSocket-Accept", b"x")], Pieces(), duplex=loop)

    async with served(forward) as at:
        reader, writer = await at.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"101 Switching Protocols" in head
        assert b"Upgrade: websocket" in head
        assert await reader.readexactly(10) == b"earlyearly"
        writer.write(b"late")
        assert await reader.readexactly(8) == b"latelate"
        writer.close()
        async with asyncio.timeout(1):
            await loop.closed.wait()


async def test_the_upstreams_end_ends_an_upgraded_connection() -> None:
    class Ended:
        async def read(self, max_bytes: int) -> bytes:
            return b""

        async def write(self, data: bytes) -> None:
            raise AssertionError

        async def aclose(self) -> None:
            pass

    async def forward(inbound: Inbound) -> Answer:
        return Answer(101, [], Pieces(), duplex=Ended())

    async with served(forward) as at:
        got = await at.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 101")


async def test_a_declined_upgrade_leaves_an_ordinary_connection() -> None:
    async with served(hello) as at:
        got = await at.talk(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", LAST)
    assert got.count(b"200 OK") == 2


async def test_a_reader_that_is_slow_slows_the_answer_down() -> None:
    taken = 0

    class Endless(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal taken
            while True:
                taken += 1 << 16
                yield b"x" * (1 << 16)
                await asyncio.sleep(0)

    async def forward(inbound: Inbound) -> Answer:
        return Answer(200, [], Endless())

    async with served(forward) as at:
        _, writer = await at.connect()
        writer.write(GET)
        seen = -1
        async with asyncio.timeout(10):
            while seen != taken or not taken:
                seen = taken
                await asyncio.sleep(0.05)
        assert taken < 32 << 20
        writer.close()


async def test_a_body_that_comes_before_its_handler_has_begun_is_no_head() -> None:
    async with served(echo, header_size="1KiB") as at:
        head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        for pieces in ((head, *[b"x" * 100_000] * 10), (GET + head, *[b"x" * 100_000] * 10)):
            got = await at.talk(*pieces, LAST)
            assert b" 431 " not in got
            assert b"X-Length: 1000000" in got
