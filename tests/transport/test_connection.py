from __future__ import annotations

import asyncio
import os
import re
import ssl

import httpx
import pytest

from proxy.errors import (
    ConnectionTerminated,
    InternalError,
    MalformedRequest,
    ReadTimeout,
    ResponseIncomplete,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
)
from proxy.transport import HTTP11Transport
from proxy.transport.answer import Answer
from proxy.transport.wire import Wire
from tests.transport.requests import EMPTY, OK, Pieces, Seen, Whole, fetch, get, post, read, until
from tests.transport.upstream import Line, Script, Upstream, always, answers

REFUSAL = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
UPGRADE = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LARGE = 5 << 20


def facts(failure: UpstreamError) -> dict[str, bool]:
    return {"sent": failure.sent, "reused": failure.reused, "begun": failure.begun}


# -- requests ----------------------------------------------------------------------------------------


async def test_a_request_is_sent_byte_for_byte() -> None:
    async with Upstream(answers(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, get(b"/a%2Fb/../c?", (b"x-lower", b"1"), (b"X-Twice", b"a"), (b"X-Twice", b"\xff")))
        await transport.aclose()
    assert upstream.lines[0].received == (
        b"GET /a%2Fb/../c? HTTP/1.1\r\nHost: upstream.test\r\nx-lower: 1\r\nX-Twice: a\r\nX-Twice: \xff\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("stream", "length", "sent"),
    [
        (Pieces([b"ab", b"cd"]), 4, b"abcd"),
        (Pieces([b"ab", b"cd"]), None, b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"),
        (Pieces([]), None, b"0\r\n\r\n"),
        (Whole(b"abcd"), 4, b"abcd"),
        (Whole(b"abcd"), None, b"4\r\nabcd\r\n0\r\n\r\n"),
        (httpx.ByteStream(b"abcd"), 4, b"abcd"),
    ],
    ids=["length", "chunked", "chunked and empty", "at hand", "at hand, chunked", "bytes"],
)
async def test_a_body_is_framed_as_the_fields_say(
    stream: httpx.AsyncByteStream, length: int | None, sent: bytes
) -> None:
    async def play(line: Line) -> None:
        for _ in range(2):
            await line.head()
            assert await line.exactly(len(sent)) == sent
            line.send(OK)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(2):
            assert (await fetch(transport, post(stream, length))).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_a_request_without_framing_has_no_body_and_its_stream_is_not_touched() -> None:
    stream = Pieces([b"not to be sent"])
    request = get()
    request.stream = stream
    async with Upstream(answers(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, request)
        await transport.aclose()
    assert stream.opened == 0
    assert upstream.lines[0].received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("stream", [Pieces([b"ab"]), Pieces([b"abcde"]), Whole(b"ab")])
async def test_a_body_that_does_not_fit_its_length_breaks_the_connection(stream: httpx.AsyncByteStream) -> None:
    async with Upstream(answers(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(InternalError):
            await fetch(transport, post(stream, 4))
        line = await upstream.line()
        await line.ended.wait()
        assert not line.received.endswith(b"\r\n\r\nabcd")
        await transport.aclose()


@pytest.mark.parametrize("failure", [MalformedRequest("a broken chunk"), asyncio.CancelledError()])
@pytest.mark.parametrize("length", [10, None])
async def test_what_the_clients_body_raises_is_raised_and_the_upstream_sees_no_end(
    failure: BaseException, length: int | None
) -> None:
    stream = Pieces([b"half", failure])
    async with Upstream(answers(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(type(failure)) as caught:
            await fetch(transport, post(stream, length))
        assert caught.value is failure
        assert stream.closed == 1
        line = await upstream.line()
        await line.ended.wait()
        assert not line.received.endswith(b"0\r\n\r\n")
        await transport.aclose()


async def test_a_request_with_a_line_break_is_never_sent() -> None:
    async with Upstream(always(EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(InternalError):
            await fetch(transport, get(b"/", (b"X", b"a\r\nY: b")))
        assert (await fetch(transport, get())).status == 200
        await transport.aclose()


# -- answers while the request is still being sent ---------------------------------------------------


@pytest.mark.parametrize("length", [LARGE, None])
async def test_an_early_refusal_stops_the_upload_at_once(length: int | None) -> None:
    async def refuse(line: Line) -> None:
        await line.head()
        line.send(REFUSAL)
        await line.drain()
        await asyncio.Event().wait()

    stream = Pieces([b"x" * 65536] * (LARGE // 65536))
    async with Upstream(refuse) as upstream:
        transport = HTTP11Transport(upstream.url)
        seen = await fetch(transport, post(stream, length))
        assert (seen.status, seen.body) == (401, b"no")
        assert (stream.opened, stream.closed) == (1, 1)
        assert stream.given < LARGE
        await transport.aclose()


async def test_a_refusal_is_seen_while_the_client_is_slow_and_the_body_may_be_sent_again() -> None:
    more = asyncio.Event()
    stream = Pieces([b"a", more, b"b"])

    async def play(line: Line) -> None:
        await line.head()
        if line.number == 0:
            line.send(REFUSAL)
        else:
            assert await line.until(b"0\r\n\r\n") == b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
            line.send(OK)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        assert (await fetch(transport, post(stream, None))).status == 401
        assert stream.closed == 1
        more.set()
        assert (await fetch(transport, post(stream, None))).status == 200
        assert len(upstream.lines) == 2
        await transport.aclose()


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_refusal_of_a_request_that_was_sent_whole_leaves_the_connection(size: int) -> None:
    end = asyncio.Event()  # of the client's body, which nobody has read yet when the response comes

    async def refuse(line: Line) -> None:
        for _ in range(2):
            await line.head()
            await line.exactly(size)
            line.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await line.end()

    async with Upstream(refuse) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(2):
            stream = Pieces([b"x" * size, end])
            assert (await fetch(transport, post(stream, size))).status == 401
            assert (stream.opened, stream.closed) == (1, 1)
            assert (transport.open, transport.idle) == (1, 1)
        await transport.aclose()


@pytest.mark.parametrize("length", [3, None])
async def test_a_refusal_in_parts_leaves_the_connection_of_a_request_that_was_sent(length: int | None) -> None:
    has_head = asyncio.Event()

    async def refuse(line: Line) -> None:
        for _ in range(2):
            await line.head()
            await (line.exactly(length) if length else line.until(b"\r\n0\r\n\r\n"))
            line.send(REFUSAL[:-2])
            await has_head.wait()
            line.send(REFUSAL[-2:])
        await line.end()

    async with Upstream(refuse) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(2):
            has_head.clear()
            response = await transport.handle_async_request(post(Pieces([b"abc"]), length))
            has_head.set()
            assert (await read(response)).body == b"no"
            assert (transport.open, transport.idle) == (1, 1)
        await transport.aclose()


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_response_that_was_read_leaves_the_connection_though_the_client_has_not_ended_its_body(
    size: int,
) -> None:
    end = asyncio.Event()

    async def accept(line: Line) -> None:
        for _ in range(2):
            await line.head()
            await line.exactly(size)
            line.send(OK)
        await line.end()

    async with Upstream(accept) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(2):
            stream = Pieces([b"x" * size, end])
            assert (await fetch(transport, post(stream, size))).status == 200
            assert (stream.opened, stream.closed) == (1, 1)
            assert (transport.open, transport.idle) == (1, 1)
        await transport.aclose()


async def test_a_refusal_survives_the_reset_that_follows_it() -> None:
    async def refuse(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await line.drain()
        line.close()  # with bytes unread, so that the kernel resets

    async with Upstream(refuse) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(20):
            seen = await fetch(transport, post(Pieces([b"x" * 65536] * 80), LARGE))
            assert (seen.status, seen.body) == (413, b"big")
        await transport.aclose()


async def test_an_early_success_streams_while_the_upload_goes_on() -> None:
    async def echo(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            line.send(await line.until(b"\r\n") + await line.until(b"\r\n"))
        assert await line.until(b"0\r\n\r\n")
        line.send(b"0\r\n\r\n")
        await line.head()
        line.send(OK)
        await line.end()

    gates = [asyncio.Event() for _ in range(3)]
    stream = Pieces([piece for gate, name in zip(gates, (b"a", b"b", b"c"), strict=True) for piece in (gate, name)])
    async with Upstream(echo) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(post(stream, None))
        assert isinstance(response.stream, Answer)
        for gate, name in zip(gates, (b"a", b"b", b"c"), strict=True):
            gate.set()
            assert await anext(response.stream) == name
        assert [piece async for piece in response.stream] == []
        assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_a_complete_answer_waits_for_the_rest_of_the_request_before_the_next_one() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(OK)
        await line.end()

    gate = asyncio.Event()
    stream = Pieces([b"a", gate, b"b"])
    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(post(stream, None))
        assert (await read(response)).body == b"hello"
        await stream_closed(stream)
        line = await upstream.line()
        await line.ended.wait()
        assert not line.received.endswith(b"0\r\n\r\n")
        await transport.aclose()


async def test_it_is_used_again_when_the_request_is_complete_too() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(OK)
        assert await line.until(b"0\r\n\r\n")
        await line.head()
        line.send(OK)
        await line.end()

    gate = asyncio.Event()
    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(post(Pieces([b"a", gate, b"b"]), None))
        assert ready(response) == (b"hello", True)
        assert transport.idle == 0
        gate.set()
        await until(lambda: transport.idle)
        assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_a_refusal_that_the_loop_would_throw_away_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "last_words", lambda _: REFUSAL)
    go = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        await go.wait()
        line.reset()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        sending = asyncio.ensure_future(fetch(transport, post(Pieces([b"a", asyncio.Event()]), None)))
        await upstream.line()
        go.set()
        seen = await sending
        assert (seen.status, seen.body) == (401, b"no")
        await transport.aclose()


async def stream_closed(stream: Pieces) -> None:
    await until(lambda: stream.closed)


async def test_the_clients_failure_after_an_early_success_breaks_the_answer_off() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nstart")
        await line.end()

    gate = asyncio.Event()
    failure = MalformedRequest()
    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(post(Pieces([gate, failure]), None))
        assert isinstance(response.stream, Answer)
        assert await anext(response.stream) == b"start"
        gate.set()
        with pytest.raises(MalformedRequest):
            await anext(response.stream)
        await (await upstream.line()).ended.wait()
        await transport.aclose()


async def test_a_large_body_goes_up_with_backpressure() -> None:
    size, begun, go = 64 << 20, asyncio.Event(), asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a reader's transport as well
        begun.set()
        await go.wait()
        line.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(64):
            await line.exactly(1 << 20)
            line.received = b""
        line.send(OK)
        await line.end()

    stream = Pieces([b"x" * 65536] * (size // 65536))
    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        sending = asyncio.ensure_future(fetch(transport, post(stream, size)))
        await begun.wait()
        for _ in range(2000):
            await asyncio.sleep(0)
        assert 0 < stream.given < size
        go.set()
        assert (await sending).body == b"hello"
        assert stream.given == size
        await transport.aclose()


# -- answers -----------------------------------------------------------------------------------------


async def test_an_answer_has_its_reason_its_version_and_its_bytes() -> None:
    data = b"HTTP/1.0 299 Caf\xe9\r\nx-a: \xff\r\nX-A: 2\r\nContent-Encoding: gzip\r\n\r\nnot gzip"
    async with Upstream(lambda line: close_after(line, data)) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert response.extensions == {"http_version": b"HTTP/1.0", "reason_phrase": b"Caf\xe9"}
        assert response.headers.raw == [(b"x-a", b"\xff"), (b"X-A", b"2"), (b"Content-Encoding", b"gzip")]
        assert (await read(response)).body == b"not gzip"
        await transport.aclose()


async def close_after(line: Line, data: bytes) -> None:
    await line.head()
    line.send(data)
    line.close()


async def test_a_small_answer_is_ready_with_its_head() -> None:
    async with Upstream(answers(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert isinstance(response.stream, Answer)
        assert response.stream.ready() == (b"hello", True)
        await transport.aclose()


async def test_events_come_one_by_one() -> None:
    wanted = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await wanted.wait()
            wanted.clear()
            line.send(b"data: %d\n\n" % number)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert isinstance(response.stream, Answer)
        assert response.stream.ready() == (b"", False)
        for number in range(3):
            wanted.set()
            assert await anext(response.stream) == b"data: %d\n\n" % number
        await response.aclose()
        await (await upstream.line()).ended.wait()
        await transport.aclose()


async def test_a_large_answer_comes_down_with_backpressure() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * LARGE))
        for _ in range(64):
            line.send(b"x" * (4 * LARGE // 64))
            await line.drain()
        await line.head()
        line.send(OK)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        stream = response.stream
        assert isinstance(stream, Answer)
        await until(lambda: stream.slowed)
        assert len((await read(response)).body) == 4 * LARGE
        assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


# -- the connection afterwards -----------------------------------------------------------------------


async def closing(line: Line) -> None:
    await close_after(line, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


async def old(line: Line) -> None:
    await line.head()
    line.send(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    await line.end()


@pytest.mark.parametrize("script", [closing, old, answers(OK + b"surplus"), answers(OK + OK)])
async def test_what_may_not_be_used_again_is_not(script: Script) -> None:
    async with Upstream(script) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(3):
            assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 3
        await transport.aclose()


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", EMPTY],
)
async def test_a_body_that_must_not_be_there_never_reaches_the_next_request(answer: bytes) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(answer)
        await line.drain()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        for number in range(5):
            assert (await fetch(transport, get())).body == b""
            await (await upstream.line(number)).ended.wait()
        await transport.aclose()


async def test_an_unread_answer_that_is_large_costs_the_connection() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nstart")
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        await response.aclose()
        await (await upstream.line()).ended.wait()
        await transport.aclose()


async def test_an_unread_answer_that_is_small_does_not() -> None:
    rest = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(OK[:-2])
        await rest.wait()
        line.send(OK[-2:])
        await line.head()
        line.send(OK)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        await response.aclose()
        rest.set()
        await until(lambda: transport.idle)
        assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_a_large_answer_of_which_little_is_missing_is_read_to_its_end_too() -> None:
    size = 320 << 10
    go = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"x" * (size - 1000))
        await go.wait()
        line.send(b"x" * 1000)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        stream = response.stream
        assert isinstance(stream, Answer)
        await until(lambda: stream.slowed)
        go.set()
        await response.aclose()
        await until(lambda: transport.open == transport.idle)
        await transport.aclose()


async def test_a_client_certificate_that_is_refused_late_is_told_as_tls() -> None:
    async with Upstream(answers(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, get())
        (connection,) = transport._pool._open  # type: ignore[union-attr]
        connection.send(get())
        connection.connection_lost(ssl.SSLError(1, "alert"))
        assert transport.open == 0
        connection.cut()
        await transport.aclose()


# -- failures, and what is told of them --------------------------------------------------------------


async def silent(line: Line) -> None:
    await line.head()
    line.close()


async def resetting(line: Line) -> None:
    await line.head()
    line.reset()


@pytest.mark.parametrize("script", [silent, resetting])
async def test_a_connection_that_dies_before_the_answer(script: Script) -> None:
    async with Upstream(script) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(ConnectionTerminated) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": False}
        await transport.aclose()


async def test_a_kept_connection_that_dies_before_the_answer_is_told_apart() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(OK)
        await line.head()
        line.close()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, get())
        with pytest.raises(ConnectionTerminated) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": True, "begun": False}
        await transport.aclose()


@pytest.mark.parametrize("end", [Line.close, Line.reset])
@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
    ],
)
async def test_a_cut_head_is_an_answer_that_had_begun(start: bytes, end: object) -> None:
    async def play(line: Line) -> None:
        await line.head()
        await line.send_slowly(start)
        line.close()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(ResponseIncomplete) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": True}
        await transport.aclose()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nsome", b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n"]
)
async def test_a_cut_body_is_never_an_end(framing: bytes) -> None:
    async with Upstream(lambda line: close_after(line, b"HTTP/1.1 200 OK\r\n" + framing)) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert isinstance(response.stream, Answer)
        assert await anext(response.stream) == b"some"
        with pytest.raises(ResponseIncomplete) as caught:
            await anext(response.stream)
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": True}
        assert transport.open == 0
        await transport.aclose()


async def test_a_body_without_a_length_that_is_reset_is_never_an_end() -> None:
    read_it = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await read_it.wait()
        line.reset()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert isinstance(response.stream, Answer)
        assert await anext(response.stream) == b"some"
        read_it.set()
        with pytest.raises(ResponseIncomplete):
            await anext(response.stream)
        await transport.aclose()


async def test_garbage_closes_the_connection() -> None:
    async with Upstream(answers(b"SSH-2.0-OpenSSH_9.2\r\n")) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(UpstreamProtocolError) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": True}
        assert "SSH" not in caught.value.detail
        await (await upstream.line()).ended.wait()
        await transport.aclose()


async def test_garbage_within_the_body_breaks_it_off() -> None:
    more = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n")
        await more.wait()
        line.send(b"nonsense\r\n")
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        assert isinstance(response.stream, Answer)
        assert await anext(response.stream) == b"some"
        more.set()
        with pytest.raises(UpstreamProtocolError):
            await anext(response.stream)
        await transport.aclose()


async def test_an_upstream_that_says_nothing_is_given_up() -> None:
    async with Upstream(answers(b"")) as upstream:
        transport = HTTP11Transport(upstream.url, read_timeout=0.05)
        with pytest.raises(ReadTimeout) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": False}
        await (await upstream.line()).ended.wait()
        await transport.aclose()


INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"


@pytest.mark.parametrize(
    "pieces", [[INTERIM] * 30, [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 30]], ids=["interim responses", "a slow head"]
)
async def test_what_comes_before_the_end_of_the_head_does_not_extend_its_time(pieces: list[bytes]) -> None:
    async def play(line: Line) -> None:
        await line.head()
        for piece in pieces:
            line.send(piece)
            await asyncio.sleep(0.1)
        line.send(b"\r\n" if pieces[0] != INTERIM else OK)

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url, read_timeout=0.3)
        with pytest.raises(ReadTimeout) as caught:
            await fetch(transport, get())
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": True}
        await transport.aclose()


async def test_interim_responses_without_end_are_refused_by_their_number() -> None:
    async def play(line: Line) -> None:
        await line.head()
        while not line.writer.is_closing():
            line.send(INTERIM)
            await asyncio.sleep(0)

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(UpstreamProtocolError, match="more than 32 interim responses"):
            await fetch(transport, get())
        await transport.aclose()


async def test_some_interim_responses_are_passed_over_on_each_request() -> None:
    async with Upstream(answers(INTERIM * 32 + OK, INTERIM * 32 + OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        assert [(await fetch(transport, get())).status for _ in range(2)] == [200, 200]
        await transport.aclose()


async def test_an_upstream_that_stops_within_the_body_is_given_up() -> None:
    async with Upstream(answers(OK[:-1])) as upstream:
        transport = HTTP11Transport(upstream.url, read_timeout=0.05)
        response = await transport.handle_async_request(get())
        with pytest.raises(ReadTimeout) as caught:
            await read(response)
        assert facts(caught.value) == {"sent": True, "reused": False, "begun": True}
        await transport.aclose()


async def test_an_upstream_that_takes_nothing_is_given_up() -> None:
    async def deaf(line: Line) -> None:
        await line.head()
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a reader's transport as well
        await asyncio.Event().wait()

    stream = Pieces([b"x" * 65536] * 1000)
    async with Upstream(deaf) as upstream:
        transport = HTTP11Transport(upstream.url, read_timeout=0.1)
        with pytest.raises(WriteTimeout):
            await fetch(transport, post(stream, 65536 * 1000))
        assert stream.closed == 1
        await transport.aclose()


async def test_a_client_that_is_slow_is_not_the_upstreams_fault() -> None:
    gate = asyncio.Event()
    async with Upstream(lambda line: slow_echo(line)) as upstream:
        transport = HTTP11Transport(upstream.url, read_timeout=0.04)
        asyncio.get_running_loop().call_later(0.15, gate.set)
        seen = await fetch(transport, post(Pieces([b"a", gate, b"b"]), 2))
        assert seen.status == 200
        await transport.aclose()


async def slow_echo(line: Line) -> None:
    await line.head()
    await line.exactly(2)
    line.send(OK)
    await line.end()


# -- 101 ---------------------------------------------------------------------------------------------


async def test_after_a_101_bytes_pass_both_ways_as_they_are() -> None:
    async def echo(line: Line) -> None:
        await line.head()
        line.send(SWITCH + b"\x81\x02hi")
        line.send(await line.exactly(5))
        await line.end()

    async with Upstream(echo) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get(b"/chat", *UPGRADE))
        assert response.status_code == 101
        assert ready(response) == (b"", True)
        wire = response.extensions["network_stream"]
        assert await wire.read() == b"\x81\x02hi"
        await wire.write(b"\x00\r\n\x00!")
        assert await wire.read(1024) == b"\x00\r\n\x00!"
        await wire.aclose()
        await (await upstream.line()).ended.wait()
        with pytest.raises(ConnectionTerminated):
            await wire.write(b"late")
        await transport.aclose()


def ready(response: httpx.Response) -> tuple[bytes, bool]:
    assert isinstance(response.stream, Answer)
    return response.stream.ready()


async def test_the_upstreams_end_of_a_tunnel_is_an_end_and_a_reset_is_not() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(SWITCH + b"bye")
        if line.number == 0:
            line.finish()
            assert await line.exactly(4) == b"last"
        else:
            await line.exactly(1)
            line.reset()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get(b"/", *UPGRADE))
        wire = response.extensions["network_stream"]
        assert (await wire.read(), await wire.read()) == (b"bye", b"")
        await wire.write(b"last")
        await response.aclose()
        response = await transport.handle_async_request(get(b"/", *UPGRADE))
        wire = response.extensions["network_stream"]
        assert await wire.read() == b"bye"
        await wire.write(b"x")
        with pytest.raises(ConnectionTerminated):
            await wire.read()
        await transport.aclose()


async def test_a_101_in_the_middle_of_the_request_is_refused() -> None:
    async with Upstream(answers(SWITCH)) as upstream:
        transport = HTTP11Transport(upstream.url)
        with pytest.raises(UpstreamProtocolError):
            await fetch(transport, post(Pieces([asyncio.Event()]), None, *UPGRADE))
        await transport.aclose()


# -- cancellation ------------------------------------------------------------------------------------


def open_sockets() -> int:
    names = []
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))  # noqa: PTH115
        except OSError:
            continue
    return sum(bool(re.match("socket:", name)) for name in names)


@pytest.mark.parametrize("steps", range(14))
async def test_whenever_a_request_is_cancelled_no_connection_stays(steps: int) -> None:
    stream = Pieces([b"x" * 1000, asyncio.Event()])
    async with Upstream(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstart", EMPTY)) as upstream:
        transport = HTTP11Transport(upstream.url)
        before = open_sockets()
        for request in (get(), post(stream, None), post(stream, 2000)):
            sending = asyncio.ensure_future(fetch(transport, request))
            for _ in range(steps):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await until(lambda: not transport.open)
        assert stream.opened == stream.closed
        for line in upstream.lines:
            await line.ended.wait()
        await until(lambda: not (open_sockets() > before))
        assert (await fetch_seen(transport, upstream)).status == 200
        await transport.aclose()


async def fetch_seen(transport: HTTP11Transport, upstream: Upstream) -> Seen:
    response = await transport.handle_async_request(get())
    await response.aclose()
    assert upstream.lines
    return Seen(response.status_code, [], b"")
