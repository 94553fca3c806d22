"""What holds for every transport, told by raw bytes: one suite over ours and over httpx's stock one.

What the stock transport does not keep stands in `EXCEPTIONS`, with the reason why that is bearable or why it is not
used there; each exception is proven: where it no longer holds, the suite fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    InternalError,
    ReadTimeout,
    ResponseIncomplete,
    UpstreamProtocolError,
)
from proxy.transport import HTTP11Transport
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.transport.requests import EMPTY, OK, Pieces, fetch, get, post
from tests.transport.test_parser import MALFORMED, WELL_FORMED
from tests.transport.upstream import Line, Script, Upstream, always, answers

_LENIENT = "h11 reads it in the one way that it allows; nobody else reads the same bytes"
_UNBOUNDED = "httpcore bounds it differently; token endpoints are bounded by tokens/endpoint.py"
EXCEPTIONS = {
    "malformed": {
        "version 2.0": _LENIENT,
        "version 1.2": _LENIENT,
        "bare LF": _LENIENT,
        "ESC in the reason": _LENIENT,
        "a folded field": _LENIENT,
        "both framings": _LENIENT,
        "both framings, turned": _LENIENT,
        "a list of lengths": _LENIENT,
        "chunked in 1.0": _LENIENT,
        "a length as trailer": _LENIENT,
        "http/0.9": "h11 waits for the end of a line that never comes",
        "100 with a length": "h11 ignores the length, and waits for the answer",
        "a huge length": "a Content-Length of 20 digits is one for h11",
        "a huge chunk": "h11 takes a size of 20 digits",
        "a head without end": _UNBOUNDED,
        "a large head": _UNBOUNDED,
        "interim answers without end": _UNBOUNDED,
        "many fields": _UNBOUNDED,
        "large trailers": _UNBOUNDED,
        "a chunk extension without end": _UNBOUNDED,
    },
    "refusal": {"": "httpcore reads no answer before it has sent the whole body; token requests are small"},
}  # fmt: skip


class Subject:
    """A transport to be tested: ``subject(url)`` makes one, ``subject.keeps(promise)`` knows the exceptions."""

    def __init__(self, name: str) -> None:
        self._is_ours = name == "ours"
        self._made: list[httpx.AsyncBaseTransport] = []

    def __call__(self, url: httpx.URL, read: float = 5.0) -> httpx.AsyncBaseTransport:
        if self._is_ours:
            self._made.append(HTTP11Transport(url, read_timeout=read, max_head=4096, max_fields=16))
        else:
            self._made.append(StockTransport(context, read=read))
        return self._made[-1]

    @contextmanager
    def keeps(self, promise: str, case: str = "") -> Iterator[None]:
        """See that what is within holds, or that it fails where the table says so."""
        if self._is_ours or case not in EXCEPTIONS[promise]:
            yield
            return
        with pytest.raises((AssertionError, ReadTimeout, TimeoutError, pytest.fail.Exception)):
            yield

    def connections(self, requests: int) -> int:
        """How many connections so many requests take, one after the other."""
        return 1 if self._is_ours else requests  # httpcore does not read Keep-Alive, so it keeps none

    async def aclose(self) -> None:
        for transport in self._made:
            await transport.aclose()


@pytest.fixture(params=["ours", "stock"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Each transport in turn; what was made of it is closed with the test."""
    made = Subject(request.param)
    yield made
    await made.aclose()


# -- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", WELL_FORMED)
async def test_a_well_formed_answer_arrives_whole_and_its_connection_is_kept(subject: Subject, case: str) -> None:
    answer, body = WELL_FORMED[case]
    async with Upstream(always(answer)) as upstream:
        transport = subject(upstream.url)
        for _ in range(3):
            assert (await fetch(transport, get(url=upstream.url))).body == body
        assert len(upstream.lines) == (3 if case == "old" else subject.connections(3))


async def test_status_reason_version_and_fields_are_the_upstreams(subject: Subject) -> None:
    answer = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 299 Caf\xe9\tau lait\r\nX-b: \xff\t\x80\r\nx-A:\r\nTransfer-Encoding: chunked\r\nX-B: 2\r\n\r\n"
        b"2\r\nhi\r\n0\r\nX-Trailer: t\r\n\r\n"
    )
    async with Upstream(always(answer)) as upstream:
        transport = subject(upstream.url)
        response = await transport.handle_async_request(get(url=upstream.url))
        assert (response.status_code, response.extensions["reason_phrase"]) == (299, b"Caf\xe9\tau lait")
        assert response.extensions["http_version"] == b"HTTP/1.1"
        assert response.headers.raw == [
            (b"X-b", b"\xff\t\x80"), (b"x-A", b""), (b"Transfer-Encoding", b"chunked"), (b"X-B", b"2"),
        ]  # fmt: skip
        await response.aclose()


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
async def test_head_has_no_body(subject: Subject, framing: bytes) -> None:
    async with Upstream(always(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")) as upstream:
        transport = subject(upstream.url)
        for _ in range(3):
            assert (await fetch(transport, get(method="HEAD", url=upstream.url))).body == b""
        assert len(upstream.lines) == subject.connections(3)


async def test_a_body_without_a_length_ends_with_its_connection(subject: Subject) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        line.close()

    async with Upstream(play) as upstream:
        transport = subject(upstream.url)
        for number in range(2):
            assert (await fetch(transport, get(url=upstream.url))).body == b"all of it"
            assert len(upstream.lines) == number + 1


async def endless(answer: bytes, line: Line) -> None:
    await line.head()
    line.send(answer)
    await line.end()


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_answer_is_an_error_and_ends_the_connection(subject: Subject, case: str) -> None:
    async with Upstream(partial(endless, MALFORMED[case])) as upstream:
        transport = subject(upstream.url, read=0.1)
        with subject.keeps("malformed", case):
            with pytest.raises((UpstreamProtocolError, ResponseIncomplete)) as caught:
                await fetch(transport, get(url=upstream.url))
            assert (caught.value.sent, caught.value.begun) == (True, True)
            await (await upstream.line()).ended.wait()


async def test_events_come_one_by_one(subject: Subject) -> None:
    go = [asyncio.Event(), asyncio.Event()]

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in go:
            await event.wait()
            line.send(b"2\r\nhi\r\n")
        await line.end()

    async with Upstream(play) as upstream:
        response = await subject(upstream.url).handle_async_request(get(url=upstream.url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        pieces = aiter(response.stream)
        for event in go:
            event.set()
            assert await anext(pieces) == b"hi"
        await response.aclose()
        await (await upstream.line()).ended.wait()


async def test_who_reads_slowly_slows_the_upstream_down(subject: Subject) -> None:
    size = 32 << 20
    sent = 0

    async def play(line: Line) -> None:
        nonlocal sent
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            line.send(bytes(1 << 16))
            sent += 1 << 16
            await line.drain()
        await line.end()

    async with Upstream(play) as upstream:
        response = await subject(upstream.url).handle_async_request(get(url=upstream.url))
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)  # nothing tells that nothing more is sent
        assert sent < size // 2
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert sum([len(piece) async for piece in response.stream]) == size
        await response.aclose()


# -- whose bytes they are ----------------------------------------------------------------------------

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
STRAY = {
    "a second answer": EMPTY,
    "behind chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "behind a 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "the body of a 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n",
    "the body of a 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n",
}


@pytest.mark.parametrize("case", STRAY)
async def test_bytes_that_belong_to_no_answer_reach_nobody(subject: Subject, case: str) -> None:
    async with Upstream(partial(endless, STRAY[case] + POISON)) as upstream:
        transport = subject(upstream.url)
        for _ in range(3):
            assert (await fetch(transport, get(url=upstream.url))).body == b""
        assert len(upstream.lines) == 3


async def test_bytes_on_an_idle_connection_close_it(subject: Subject) -> None:
    async with Upstream(partial(endless, EMPTY)) as upstream:
        transport = subject(upstream.url)
        for number in range(3):
            assert (await fetch(transport, get(url=upstream.url))).body == b""
            upstream.lines[number].send(POISON)
        assert len(upstream.lines) == 3


async def closing(line: Line) -> None:
    await line.head()
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await line.end()


async def old(line: Line) -> None:
    await line.head()
    line.send(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    await line.end()


@pytest.mark.parametrize("script", [closing, old])
async def test_a_connection_that_the_upstream_does_not_keep_is_not_used_again(subject: Subject, script: Script) -> None:
    async with Upstream(script) as upstream:
        transport = subject(upstream.url)
        for number in range(3):
            assert (await fetch(transport, get(url=upstream.url))).body == b"hello"
            await (await upstream.line(number)).ended.wait()
        assert len(upstream.lines) == 3


async def test_an_idle_connection_that_was_closed_is_replaced_without_a_word(subject: Subject) -> None:
    async def once(line: Line) -> None:
        await line.head()
        line.send(OK)
        line.close()

    async with Upstream(once) as upstream:
        transport = subject(upstream.url)
        for number in range(3):
            assert (await fetch(transport, get(url=upstream.url))).body == b"hello"
            await (await upstream.line(number)).writer.wait_closed()
        assert len(upstream.lines) == 3


# -- requests ----------------------------------------------------------------------------------------


async def test_a_request_is_sent_byte_for_byte(subject: Subject) -> None:
    async with Upstream(answers(EMPTY)) as upstream:
        fields = ((b"x-lower", b"1"), (b"X-Twice", b"a"), (b"X-Twice", b"\xff"))
        await fetch(subject(upstream.url), get(b"/a%2Fb/../c?", *fields, url=upstream.url))
    assert upstream.lines[0].received == (
        b"GET /a%2Fb/../c? HTTP/1.1\r\nHost: upstream.test\r\nx-lower: 1\r\nX-Twice: a\r\nX-Twice: \xff\r\n\r\n"
    )


def to(upstream: Upstream, stream: httpx.AsyncByteStream, length: int | None) -> httpx.Request:
    request = post(stream, length)
    request.url = upstream.url
    return request


async def test_a_body_is_sent_and_an_answer_read_whatever_their_framing(subject: Subject) -> None:
    async def play(line: Line) -> None:
        while True:
            head = await line.head()
            body = await (line.until(b"0\r\n\r\n") if b"chunked" in head else line.exactly(4))
            line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body)

    async with Upstream(play) as upstream:
        transport = subject(upstream.url)
        assert (await fetch(transport, to(upstream, Pieces([b"ab", b"cd"]), 4))).body == b"abcd"
        assert (await fetch(transport, to(upstream, Pieces([b"abcd"]), None))).body == b"4\r\nabcd\r\n0\r\n\r\n"
        assert len(upstream.lines) == subject.connections(2)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([b"too short"], InternalError),
        ([b"much too long"], InternalError),
        ([b"123", KeyError("the client's")], KeyError),
    ],
)
async def test_a_body_that_fails_is_never_taken_for_a_whole_one(
    subject: Subject, pieces: list[bytes | BaseException], error: type[Exception]
) -> None:
    async with Upstream(lambda line: line.end()) as upstream:
        with pytest.raises(error):
            await fetch(subject(upstream.url), to(upstream, Pieces(pieces), 10))
        line = await upstream.line()
        await line.ended.wait()
        assert len(line.received.partition(b"\r\n\r\n")[2]) < 10


async def test_a_refusal_is_seen_while_the_body_still_comes(subject: Subject) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await line.end()

    async with Upstream(play) as upstream:
        request = to(upstream, Pieces([b"start", asyncio.Event()]), None)
        with subject.keeps("refusal"):
            async with asyncio.timeout(0.5):
                assert (await fetch(subject(upstream.url), request)).status == 413


# -- failures, and what is told of them --------------------------------------------------------------


async def silent(line: Line) -> None:
    await line.head()
    line.close()


async def resetting(line: Line) -> None:
    await line.head()
    line.reset()


@pytest.mark.parametrize("script", [silent, resetting])
async def test_a_connection_that_dies_before_the_answer_says_what_was_sent(subject: Subject, script: Script) -> None:
    async with Upstream(script) as upstream:
        with pytest.raises(ConnectionTerminated) as caught:
            await fetch(subject(upstream.url), get(url=upstream.url))
    assert (caught.value.sent, caught.value.reused, caught.value.begun) == (True, False, False)


@pytest.mark.parametrize(
    "cut",
    [
        b"Content-Length: 9\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ],
)
async def test_a_cut_body_is_never_an_end(subject: Subject, cut: bytes) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\n" + cut)
        line.close()

    async with Upstream(play) as upstream:
        with pytest.raises(ResponseIncomplete) as caught:
            await fetch(subject(upstream.url), get(url=upstream.url))
    assert (caught.value.sent, caught.value.begun) == (True, True)


@pytest.mark.parametrize("start", [b"", OK[:-2]])
async def test_an_upstream_that_falls_silent_is_given_up(subject: Subject, start: bytes) -> None:
    async with Upstream(partial(endless, start)) as upstream:
        with pytest.raises(ReadTimeout) as caught:
            await fetch(subject(upstream.url, read=0.05), get(url=upstream.url))
        assert (caught.value.sent, caught.value.begun) == (True, bool(start))
        await (await upstream.line()).ended.wait()


async def test_who_is_not_there_was_sent_nothing(subject: Subject) -> None:
    async with Upstream(answers(OK)) as upstream:
        url = upstream.url
    with pytest.raises(ConnectionRefused) as caught:
        await fetch(subject(url), get(url=url))
    assert (caught.value.sent, caught.value.reused, caught.value.begun) == (False, False, False)
