"""What comes by a connection: large bodies go past the parser, and what follows them does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import accumulate, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import ProxyError
from proxy.gateway import Answer, Inbound
from proxy.gateway.bulk import WORTH_IT
from tests.gateway.test_ending import LOOPS
from tests.gateway.test_ending import run as run  # both event loops
from tests.gateway.test_server import LAST, echo, hello, served

Run = Callable[[Coroutine[Any, Any, None]], None]

BODY = Random(1).randbytes(3 * WORTH_IT)


def put(size: int, *fields: bytes) -> bytes:
    return b"\r\n".join((b"PUT / HTTP/1.1", b"Host: x", b"Content-Length: %d" % size, *fields, b"", b""))


@pytest.mark.parametrize("size", [WORTH_IT - 1, WORTH_IT, WORTH_IT + 1, 3 * WORTH_IT])
@pytest.mark.parametrize("piece", [1 << 12, 99_999, 1 << 24])
def test_each_body_is_its_own_and_what_follows_is_a_request(run: Run, size: int, piece: int) -> None:
    async def story() -> None:
        sent = (put(size) + BODY[:size]) * 2 + LAST
        async with served(echo) as at:
            got = await at.talk(*[sent[start : start + piece] for start in range(0, len(sent), piece)])
        first, second, third, fourth = got.split(b"HTTP/1.1 200 OK\r\n")
        assert (first, fourth.partition(b"\r\n\r\n")[2]) == (b"", b"")
        assert {answer.partition(b"\r\n\r\n")[2] for answer in (second, third)} == {BODY[:size]}

    run(story())


def test_what_follows_is_judged_as_strictly_as_before(run: Run) -> None:
    async def story() -> None:
        body = put(len(BODY)) + BODY
        async with served(echo, header_size=2000) as at:
            broken = await at.talk(body, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
            long = await at.talk(body, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 3000))
        assert [answer.split()[0] for answer in broken.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]
        assert [answer.split()[0] for answer in long.split(b"HTTP/1.1 ")[1:]] == [b"200", b"414"]

    run(story())


def test_a_body_that_nobody_wants_is_passed_over(run: Run) -> None:
    async def story() -> None:
        async with served(hello) as at:
            got = await at.talk(put(len(BODY)) + BODY + LAST)
        assert got.count(b"HTTP/1.1 200 OK") == 2

    run(story())


def test_a_client_that_waits_to_be_asked_for_it_is(run: Run) -> None:
    async def story() -> None:
        async with served(echo) as at:
            reader, writer = await at.connect()
            writer.write(put(len(BODY), b"Expect: 100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY + LAST)
            assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 2
            writer.close()

    run(story())


def test_one_that_was_not_asked_gets_no_second_request_out_of_its_body(run: Run) -> None:
    async def story() -> None:
        stories: list[bytes] = []

        async def forward(inbound: Inbound) -> Answer:
            stories.append(inbound.target)
            return Answer(403, [], b"no")

        async with served(forward) as at:
            got = await at.talk(put(len(BODY), b"Expect: 100-continue"), LAST)
        assert got.count(b"HTTP/1.1 ") == 1
        assert stories == [b"/"]

    run(story())


def test_a_client_that_ends_within_its_body_is_not_answered(run: Run) -> None:
    async def story() -> None:
        async with served(echo) as at:
            reader, writer = await at.connect()
            writer.write(put(len(BODY)) + BODY[:-1])
            await writer.drain()
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            async with asyncio.timeout(5):
                while len(at.server.connections):
                    await asyncio.sleep(0.01)

    run(story())


# -- what is sent ahead ----------------------------------------------------------------------------------


class Held:
    """Responds to ``/held`` when `go_on` is set, and to anything else at once, with the request's method and body."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.seen: list[tuple[str, bytes]] = []

    async def __call__(self, inbound: Inbound) -> Answer:
        if inbound.target == b"/held":
            self.begun.set()
            await self.go_on.wait()
        answer = await echo(inbound)
        assert isinstance(answer.body, bytes)
        self.seen.append((inbound.method, answer.body))
        return Answer(200, [], inbound.method.encode() + b" " + answer.body)


HELD = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
# What a request may be while the next head begins.
FIRST = {
    "no body": HELD,
    "a body": b"POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "chunks": b"POST /held HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "a websocket that is not followed": HELD[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "another upgrade": HELD[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a large body": put(2 * WORTH_IT).replace(b" / ", b" /held ") + BODY[: 2 * WORTH_IT],
}


async def reading(inbound: Inbound) -> Answer:
    """What a gateway makes of a body that can't be read."""
    try:
        return await echo(inbound)
    except ProxyError as error:
        return Answer(error.status, [], close=True)


def statuses(got: bytes) -> list[int]:
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


async def sent_ahead(first: bytes, *ahead: bytes, **settings: Any) -> list[int]:
    """The statuses of what is answered to a request that is under way while others come."""
    forward = Held()
    async with served(forward, **settings) as at:
        reader, writer = await at.connect()
        writer.write(first)
        await forward.begun.wait()
        for piece in ahead:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        forward.go_on.set()
        async with asyncio.timeout(5):
            got = await reader.read()
        writer.close()
        return statuses(got)


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_head_that_begins_meanwhile_is_no_larger_than_others(run: Run, first: bytes) -> None:
    fields = [b"X-%d: %b\r\n" % (number, b"a" * 500) for number in range(6)]

    async def story() -> None:
        start = b"GET / HTTP/1.1\r\nHost: x\r\n"
        assert await sent_ahead(first, start, *fields, b"\r\n", header_size=2000) == [200, 431]
        assert await sent_ahead(first, start + b"".join(fields), header_size=2000) == [200, 431]
        assert await sent_ahead(first, b"GET /" + b"a" * 3000, header_size=2000) == [200, 414]
        assert await sent_ahead(first, b"A" * 1500, b"A" * 1500, header_size=2000) == [200, 431]
        assert await sent_ahead(first, start, b"".join(fields[:2]), b"\r\n" + LAST, header_size=2000) == [200] * 3

    run(story())


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_head_that_begins_meanwhile_has_as_long_as_others(run: Run, first: bytes) -> None:
    async def story() -> None:
        times = {"header_timeout": "100ms", "keepalive": "1h"}
        assert await sent_ahead(first, b"GET / HTTP/1.1\r\n", **times) == [200, 408]
        assert await sent_ahead(first, b"GE", **times) == [200, 408]

    run(story())


def test_one_that_drips_on_is_ended_all_the_same(run: Run) -> None:
    async def story() -> None:
        forward = Held()
        forward.go_on.set()
        async with served(forward, header_timeout="100ms", keepalive="1h") as at:
            reader, writer = await at.connect()
            writer.write(HELD + b"GET / HTTP/1.1\r\nX: ")

            async def drip() -> None:
                while True:
                    writer.write(b"a")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            async with asyncio.timeout(5):
                assert statuses(await reader.read()) == [200, 408]
            dripping.cancel()
            writer.close()

    run(story())


def test_what_is_sent_ahead_is_not_read_without_end(run: Run) -> None:
    async def story() -> None:
        forward, most = Held(), 0
        async with served(forward) as at:
            _, writer = await at.connect()
            writer.write(HELD)
            await forward.begun.wait()
            (client,) = at.server.connections._open
            for _ in range(100):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
                await asyncio.sleep(0.001)
                most = max(most, len(client._ahead))  # type: ignore[attr-defined]  # the double has none
            assert 1 << 16 <= most < 1 << 20
            writer.close()

    run(story())


def test_many_small_requests_in_one_go_are_all_served(run: Run) -> None:
    async def story() -> None:
        async with served(Held()) as at:
            got = await at.talk(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\n" * 5000 + LAST)
        assert statuses(got) == [200] * 5001

    run(story())


def test_a_client_that_ends_its_side_gets_what_it_has_asked_for(run: Run) -> None:
    async def story() -> None:
        async with served(Held()) as at:
            reader, writer = await at.connect()
            writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET / HT")
            writer.write_eof()
            async with asyncio.timeout(5):
                assert statuses(await reader.read()) == [200] * 3
            writer.close()

    run(story())


@pytest.mark.parametrize(
    "extra",
    [[b"1;" + b"a" * 1500, b"a" * 1500], [b"0\r\nA: " + b"a" * 1500, b"a" * 1500],
     [b"0\r\n" + b"A: aaaaaaaa\r\n" * 120, b"B: aaaaaaaa\r\n" * 120 + b"\r\n"]],
)  # fmt: skip
def test_extensions_and_trailers_are_no_larger_than_a_head(run: Run, extra: list[bytes]) -> None:
    start = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"

    async def story() -> None:
        async with served(reading, header_size=2000) as at:
            assert statuses(await at.talk(start, *extra)) == [431]
            assert statuses(await at.talk(start + b"".join(extra))) == [431]

    run(story())


def test_trailers_that_drip_end_with_the_body_s_timeout(run: Run) -> None:
    start = b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "

    async def story() -> None:
        async with served(reading, body_timeout="100ms") as at:
            assert statuses(await at.talk(start)) == [408]

    run(story())


# -- methods ---------------------------------------------------------------------------------------------

METHODS = [b"LIST", b"VERSION-CONTROL", b"BASELINE-CONTROL", b"LABEL", b"ORDERPATCH", b"FOO", b"a!b", b"get", b"G",
           b"GETS", b"PUT2", b"PROPFIND", b"HTTP", b"connect", b"SOURCE", b"PLAY",
           b"0", b"!#$%&'*+-.^_`|~"]  # fmt: skip
tokens = st.text("!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz", min_size=1, max_size=20).map(str.encode)
methods = st.one_of(st.sampled_from([*METHODS, b"GET", b"POST"]), tokens).filter(
    lambda method: method not in (b"HEAD", b"TRACE", b"CONNECT", b"PRI")
)
# A message with its body: with none, with a length, and in chunks, in which there is what looks like a head.
TRICK = b"FOO / HTTP/1.1\r\n\r\n"
framed = st.sampled_from(
    [(b"\r\n", b""), (b"Content-Length: 21\r\n\r\nabc" + TRICK, b"abc" + TRICK), (b"Content-Length: 0\r\n\r\n", b""),
     (b"Transfer-Encoding: chunked\r\n\r\n12;x\r\n" + TRICK + b"\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n", TRICK + b"abc")]
)  # fmt: skip
messages = st.lists(st.tuples(methods, framed), min_size=1, max_size=4)


def spelled(asked: list[tuple[bytes, tuple[bytes, bytes]]]) -> bytes:
    return b"".join(method + b" /x HTTP/1.1\r\nHost: x\r\n" + rest for method, (rest, _) in asked) + LAST


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@settings(max_examples=60, deadline=None)
@given(messages, st.lists(st.integers(1, 60), max_size=8))
def test_any_method_is_itself_however_it_comes(
    loop: Callable[[], asyncio.AbstractEventLoop], asked: list[tuple[bytes, tuple[bytes, bytes]]], cuts: list[int]
) -> None:
    async def story() -> None:
        forward, sent = Held(), spelled(asked)
        async with served(forward) as at:
            at_cut = [0, *accumulate(cuts), len(sent)]
            got = await at.talk(*[sent[start:end] for start, end in pairwise(at_cut)])
        assert forward.seen == [*((method.decode(), body) for method, (_, body) in asked), ("GET", b"")]
        assert statuses(got) == [200] * (len(asked) + 1)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


ASKED = [(b"a!b", (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc")), (b"LIST", (b"\r\n", b""))]


@pytest.mark.parametrize("cut", range(1, len(spelled(ASKED))))
async def test_a_stream_may_be_cut_at_each_of_its_bytes(cut: int) -> None:
    """Straight at the protocol, so that no system joins the pieces."""
    forward, sent = Held(), spelled(ASKED)
    async with served(forward) as at:
        reader, writer = await at.connect()
        while not at.server.connections._open:
            await asyncio.sleep(0)
        (client,) = at.server.connections._open
        client.data_received(sent[:cut])  # type: ignore[attr-defined]  # the real one has it
        await asyncio.sleep(0)
        client.data_received(sent[cut:])  # type: ignore[attr-defined]  # as above
        assert statuses(await reader.read()) == [200] * 3
        writer.close()
    assert forward.seen == [("a!b", b"abc"), ("LIST", b""), ("GET", b"")]


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"F(O /x HTTP/1.1", 400), (b"F\xe9O /x HTTP/1.1", 400), (b"FOO\t/x HTTP/1.1", 400), (b"FOO", 400),
     (b" FOO /x HTTP/1.1", 400), (b"FOO /x RTSP/1.0", 400), (b"PLAY /x RTSP/1.0", 400),
     (b"SOURCE /x ICE/1.0", 400), (b"FOO x HTTP/1.1", 400),
     (b"FOO * HTTP/1.1", 400), (b"PRI * HTTP/2.0", 400), (b"TRACE * HTTP/1.1", 405)],
)  # fmt: skip
def test_what_is_no_request_of_http_stays_refused(run: Run, line: bytes, status: int) -> None:
    async def story() -> None:
        async with served(echo) as at:
            assert statuses(await at.talk(line + b"\r\nHost: x\r\n\r\n")) == [status]

    run(story())
