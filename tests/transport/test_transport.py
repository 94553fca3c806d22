"""What holds for every transport, told by raw bytes; httpcore is the oracle for what is well formed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import ConnectionTerminated, ResponseIncomplete, UpstreamProtocolError
from proxy.transport import HTTP11Transport
from proxy.transport.answer import Answer
from tests.transport.requests import EMPTY, OK, Pieces, Seen, fetch, get, post, until
from tests.transport.test_parser import MALFORMED, WELL_FORMED
from tests.transport.upstream import Line, Upstream, always, answers

Make = Callable[[httpx.URL], httpx.AsyncBaseTransport]
TRANSPORTS: dict[str, Make] = {"ours": HTTP11Transport}


@pytest.fixture(params=list(TRANSPORTS))
def make(request: pytest.FixtureRequest) -> Make:
    """The transports that keep the contract."""
    return TRANSPORTS[request.param]


# -- the contract ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "body"), WELL_FORMED.values(), ids=WELL_FORMED)
async def test_a_well_formed_answer_arrives_whole(make: Make, answer: bytes, body: bytes) -> None:
    async with Upstream(always(answer)) as upstream:
        transport = make(upstream.url)
        for _ in range(2):
            assert (await fetch(transport, get(url=upstream.url))).body == body
        await transport.aclose()


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_head_has_no_body(make: Make, framing: bytes) -> None:
    async with Upstream(always(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")) as upstream:
        transport = make(upstream.url)
        for _ in range(3):
            assert (await fetch(transport, get(method="HEAD", url=upstream.url))).body == b""
        await transport.aclose()


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


async def test_a_kept_connection_serves_many_requests(make: Make) -> None:
    async with Upstream(always(OK)) as upstream:
        transport = make(upstream.url)
        for _ in range(20):
            assert (await fetch(transport, get(url=upstream.url))).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_a_body_is_sent_and_an_answer_read_whatever_their_framing(make: Make) -> None:
    async def play(line: Line) -> None:
        while True:
            head = await line.head()
            body = await (line.until(b"0\r\n\r\n") if b"chunked" in head else line.exactly(4))
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async with Upstream(play) as upstream:
        transport = make(upstream.url)
        request = post(Pieces([b"ab", b"cd"]), 4)
        request.url = upstream.url
        assert (await fetch(transport, request)).body == b"abcd"
        request = post(Pieces([b"abcd"]), None)
        request.url = upstream.url
        assert (await fetch(transport, request)).body == b"4\r\nabcd\r\n0\r\n\r\n"
        await transport.aclose()


# -- the oracle --------------------------------------------------------------------------------------


class Cut:
    """Answers with pieces that change from request to request, on one server for a whole hypothesis run."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def __call__(self, line: Line) -> None:
        while True:
            await line.head()
            for piece in self.pieces:
                line.send(piece)
                await line.drain()
                await asyncio.sleep(0)


fields = st.lists(
    st.tuples(
        st.from_regex(rb"\A[A-Za-z][A-Za-z0-9-]{0,9}\Z").map(lambda name: b"X-" + name),
        st.from_regex(rb"\A([!-~\x80-\xff]([ -~\t\x80-\xff]{0,20}[!-~\x80-\xff])?)?\Z"),
    ),
    max_size=5,
)
bodies = st.binary(max_size=200)


@st.composite
def well_formed(draw: st.DrawFn) -> list[bytes]:
    """An answer that can be read in one way only, cut somewhere."""
    status = draw(st.sampled_from([200, 201, 206, 302, 400, 404, 500]))
    head = b"".join(name + b": " + value + b"\r\n" for name, value in draw(fields))
    start = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"])) + b"HTTP/1.1 %d Reason\r\n" % status
    if draw(st.booleans()):
        body = draw(bodies)
        data = start + head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in draw(st.lists(bodies)) if piece)
        data = start + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    cuts = draw(st.lists(st.integers(1, len(data) - 1), unique=True, max_size=6).map(sorted))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_what_httpcore_reads_is_what_we_read_wherever_the_bytes_are_cut() -> None:
    with asyncio.Runner() as runner:
        cut = Cut()
        upstream = Upstream(cut)
        runner.run(upstream.__aenter__())
        ours = HTTP11Transport(upstream.url)
        oracle = httpx.AsyncHTTPTransport()

        async def both(pieces: list[bytes]) -> tuple[Seen, Seen]:
            cut.pieces = pieces
            request = get(url=upstream.url)
            return await fetch(ours, request), await fetch(oracle, request)

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(well_formed())
        def same(pieces: list[bytes]) -> None:
            mine, theirs = runner.run(both(pieces))
            assert mine == theirs
            assert ours.idle == 1

        same()
        runner.run(ours.aclose())
        runner.run(oracle.aclose())
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


async def test_two_hundred_streams_run_side_by_side() -> None:
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
        responses = await asyncio.gather(*(transport.handle_async_request(get()) for _ in range(200)))
        assert transport.open == 200
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
