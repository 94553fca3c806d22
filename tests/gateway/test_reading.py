"""What comes by a connection: large bodies go past the parser, and what follows them does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from proxy.gateway import Answer, Inbound
from proxy.gateway.bulk import WORTH_IT
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
