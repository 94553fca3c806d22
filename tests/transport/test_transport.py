"""What holds for our transport beyond the contract; httpcore is the oracle for what is well formed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import ConnectionTerminated, ResponseIncomplete, UpstreamProtocolError
from proxy.transport import HTTP11Transport
from proxy.transport.answer import Answer
from tests.transport.requests import EMPTY, OK, Seen, fetch, get, read, until
from tests.transport.test_parser import MALFORMED
from tests.transport.upstream import Line, Upstream, answers


async def test_a_malformed_answer_is_an_error_and_ends_the_connection() -> None:
    for answer in MALFORMED.values():
        async with Upstream(partial(endless, answer)) as upstream:
            transport = HTTP11Transport(upstream.url, max_head=4096, max_fields=16)
            with pytest.raises(UpstreamProtocolError) as caught:
                await fetch(transport, get())
            assert (caught.value.sent, caught.value.begun) == (True, True)
            await (await upstream.line()).ended.wait()
            await until(lambda transport=transport: not transport.open)  # type: ignore[misc]  # bound to this one
            await transport.aclose()


async def endless(answer: bytes, line: Line) -> None:
    await line.head()
    line.send(answer)
    await line.end()


# -- the oracle --------------------------------------------------------------------------------------


class Cut:
    """Answers with pieces that change from request to request, on one server for a whole hypothesis run.

    Attributes:
        seen: by which of its connections the requests came.

    """

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.closes = False
        self.seen: list[int] = []

    async def __call__(self, line: Line) -> None:
        while True:
            await line.head()
            self.seen.append(line.number)
            for piece in self.pieces:
                line.send(piece)
                await line.drain()
                await asyncio.sleep(0)
            if self.closes:
                return


@dataclass
class Sample:
    """An answer in pieces, and what it takes to read it.

    Attributes:
        closes: whether the upstream closes the connection behind it.

    """

    pieces: list[bytes]
    method: str = "GET"
    closes: bool = False


NAMES = st.from_regex(rb"\A[A-Za-z][A-Za-z0-9-]{0,9}\Z").map(lambda name: b"X-" + name)
VALUES = st.from_regex(rb"\A([!-~\x80-\xff]([ -~\t\x80-\xff]{0,20}[!-~\x80-\xff])?)?\Z")
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(
    lambda fields: b"".join(name + b": " + value + b"\r\n" for name, value in fields)
)
BODIES = st.binary(max_size=200)
INTERIM = st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"])


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """The framing's fields, a body framed so, and whether it is the connection's end that ends it."""
    match draw(st.sampled_from(["length", "chunked", "close"])):
        case "length":
            body = draw(BODIES)
            return b"Content-Length: %d\r\n" % len(body), body, False
        case "chunked":
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in draw(st.lists(BODIES)) if piece)
            return b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n" + draw(LINES) + b"\r\n", False
        case _:
            return b"", draw(BODIES), True


@st.composite
def well_formed(draw: st.DrawFn) -> Sample:
    """An answer that can be read in one way only, cut somewhere."""
    method = draw(st.sampled_from(["GET", "GET", "HEAD"]))
    status = draw(st.sampled_from([200, 201, 204, 206, 302, 304, 400, 404, 500]))
    framing, body, closes = draw(framed())
    if method == "HEAD" or status in (204, 304):
        framing, body, closes = (b"" if status == 204 else framing), b"", False
    elif draw(st.booleans()):
        framing, closes = framing + b"Connection: close\r\n", True
    data = draw(INTERIM) + b"HTTP/1.1 %d Reason\r\n" % status + draw(LINES) + framing + b"\r\n" + body
    cuts = draw(st.lists(st.integers(1, len(data) - 1), unique=True, max_size=6).map(sorted))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Sample(pieces, method, closes)


def test_what_httpcore_reads_is_what_we_read_wherever_the_bytes_are_cut() -> None:
    with asyncio.Runner() as runner:
        cut = Cut()
        upstream = Upstream(cut)
        runner.run(upstream.__aenter__())
        pair = HTTP11Transport(upstream.url), httpx.AsyncHTTPTransport()

        async def both(sample: Sample) -> list[tuple[Seen, dict[str, object]]]:
            cut.pieces, cut.closes = sample.pieces, sample.closes
            outcomes = []
            for transport in pair:
                response = await transport.handle_async_request(get(url=upstream.url, method=sample.method))
                told = {name: response.extensions[name] for name in ("http_version", "reason_phrase")}
                outcomes.append((await read(response), told))
            return outcomes

        connections: list[tuple[int, int]] = [(0, 0)]

        @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(well_formed())
        def same(sample: Sample) -> None:
            mine, theirs = runner.run(both(sample))
            assert mine == theirs
            # Either both used their connection again, or both a new one.
            before, now = connections[-1], (cut.seen[-2], cut.seen[-1])
            connections.append(now)
            assert len(connections) == 2 or (before[0] == now[0]) == (before[1] == now[1])
            assert pair[0].idle == (not sample.closes)

        same()
        for transport in pair:
            runner.run(transport.aclose())
        runner.run(upstream.__aexit__(None, None, None))


# -- many at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
async def test_no_byte_crosses_from_one_client_to_the_next(late: bool) -> None:
    random = Random(7)

    async def misbehave(line: Line) -> None:
        while True:
            head = await line.head()
            name = head.split()[1]
            poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)
            kind = random.randrange(4)
            if kind == 0:
                answer = b"HTTP/1.1 204 No Content\r\nX-Id: %b\r\n\r\n" % name
            line.send(answer if late else answer + poison)
            if late and kind < 3:
                await line.drain()
                line.send(poison)

    async def client(name: bytes) -> None:
        for number in range(500):
            target = b"/%b/%d" % (name, number)
            seen = await fetch(transport, get(target))
            assert target in (seen.body, dict(seen.fields).get(b"X-Id")), seen

    async with Upstream(misbehave) as upstream:
        transport = HTTP11Transport(upstream.url)
        await asyncio.gather(client(b"a"), client(b"b"))
        await transport.aclose()


async def test_a_thousand_streams_run_side_by_side() -> None:
    tick = asyncio.Condition()

    async def events(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            async with tick:
                await tick.wait()
            line.send(b"%d" % number)
        await line.end()

    async def follow(response: httpx.Response, number: int) -> None:
        assert isinstance(response.stream, Answer)
        assert await anext(response.stream) == b"%d" % number

    async with Upstream(events) as upstream:
        transport = HTTP11Transport(upstream.url)
        responses = await asyncio.gather(*(transport.handle_async_request(get()) for _ in range(1000)))
        assert transport.open == 1000
        for number in range(3):
            async with tick:
                tick.notify_all()
            await asyncio.gather(*(follow(response, number) for response in responses))
        await asyncio.gather(*(response.aclose() for response in responses))
        await until(lambda: not transport.open)
        await transport.aclose()


async def test_requests_that_are_cancelled_at_random_leave_nothing_behind() -> None:
    random = Random(11)

    async def play(line: Line) -> None:
        while True:
            await line.head()
            line.send(OK[:30])
            await asyncio.sleep(0)
            line.send(OK[30:])

    async def client(transport: HTTP11Transport) -> None:
        for _ in range(40):
            asking = asyncio.ensure_future(fetch(transport, get()))
            for _ in range(random.randrange(25)):
                await asyncio.sleep(0)
            if random.random() < 0.5:
                asking.cancel()
            with suppress(asyncio.CancelledError):
                assert (await asking).body == b"hello"

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        await asyncio.gather(*(client(transport) for _ in range(8)))
        await until(lambda: not (transport.open > transport.idle))
        assert (await fetch(transport, get())).body == b"hello"
        await transport.aclose()
        assert transport.open == 0


async def test_an_upstream_that_fails_at_random_is_never_misread() -> None:
    random = Random(13)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    async def play(line: Line) -> None:
        while True:
            await line.head()
            cut = random.randrange(2 * len(answer))
            line.send(answer[:cut])
            if cut < len(answer):
                line.close()
                return

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        outcomes = {True: 0, False: 0}
        for _ in range(300):
            try:
                assert (await fetch(transport, get())).body == b"hello"
                outcomes[True] += 1
            except (ResponseIncomplete, ConnectionTerminated):
                outcomes[False] += 1
        assert min(outcomes.values()) > 50
        await transport.aclose()


async def test_the_answer_to_a_request_without_extensions_is_for_its_url() -> None:
    async with Upstream(answers(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        url = upstream.url.copy_with(raw_path=b"/x?y=%2F")
        await transport.handle_async_request(httpx.Request("GET", url))
        assert upstream.lines[0].received.startswith(b"GET /x?y=%2F HTTP/1.1\r\n")
        await transport.aclose()
