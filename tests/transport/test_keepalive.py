from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport import HTTP11Transport
from proxy.transport.keepalive import idle_time
from tests.transport.requests import fetch, get
from tests.transport.upstream import Line, Upstream, always


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b"max=100, timeout=5", 5.0),
        (b"Timeout=60,MAX=1", 60.0),
        (b"TIMEOUT = 15", 15.0),
        (b'timeout="5"', 5.0),
        (b"timeout=5; max=3", 5.0),
        (b"timeout=2.5", 2.5),
        (b"timeout=30,timeout=5", 5.0),
        (b"timeout=1", 1.0),
        (b"timeout=0", 0.0),
        (b"timeout=5, max=0", 0.0),
        (b"max=1", None),
        (b"300", None),
        (b"timeout", None),
        (b"timeout=soon", None),
        (b"timeout=-5", None),
        (b"x-timeout=5", None),
        (b"", None),
    ],
)
def test_the_time_that_an_idle_connection_stays_open(value: bytes, seconds: float | None) -> None:
    assert idle_time(value) == seconds


@given(st.binary(max_size=60))
def test_any_value_is_read_or_ignored(value: bytes) -> None:
    found = idle_time(value)
    assert found is None or found >= 0


def response(keep_alive: bytes, version: bytes = b"1.1", more: bytes = b"") -> bytes:
    return b"HTTP/%b 200 OK\r\n%bContent-Length: 2\r\n%b\r\nok" % (version, more, keep_alive)


async def connections(said: bytes, pause: float, method: str = "GET") -> int:
    """How many connections three requests use, with a pause before each."""
    if method == "HEAD":
        said = said.removesuffix(b"ok")
    async with Upstream(always(said)) as upstream:
        transport = HTTP11Transport(upstream.url)
        for _ in range(3):
            await asyncio.sleep(pause)
            await fetch(transport, get(method=method))
        await transport.aclose()
        return len(upstream.lines)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("said", "used"),
    [
        (response(b""), 1),
        (response(b"Keep-Alive: timeout=100\r\n"), 1),
        (response(b"keep-alive: Timeout=1\r\n"), 3),
        (response(b"Keep-Alive: timeout=60\r\nKeep-Alive: timeout=1, max=5\r\n"), 3),
        (response(b"KEEP-ALIVE: timeout=60, max=0\r\n"), 3),
        (response(b"Keep-Alive: max=1\r\n"), 1),
        (b"HTTP/1.1 103 Early Hints\r\nKeep-Alive: timeout=1\r\n\r\n" + response(b""), 1),
    ],
)
async def test_a_connection_without_time_left_is_not_kept(said: bytes, used: int, method: str) -> None:
    assert await connections(said, 0, method) == used


async def test_the_connection_of_an_http_1_0_upstream_has_its_time_as_well() -> None:
    more = b"Connection: keep-alive\r\n"
    assert await connections(response(b"Keep-Alive: timeout=100\r\n", b"1.0", more), 0) == 1
    assert await connections(response(b"Keep-Alive: timeout=1\r\n", b"1.0", more), 0) == 3


async def test_a_trailer_says_nothing_of_the_connection() -> None:
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nKeep-Alive: timeout=1\r\n\r\n"
    assert await connections(said, 0) == 1


async def test_a_connection_is_not_used_in_its_last_second() -> None:
    # The upstream would still respond after this pause, and for a long time.
    assert await connections(response(b"Keep-Alive: timeout=1.02\r\n"), 0.1) == 3
    assert await connections(response(b"Keep-Alive: timeout=60\r\n"), 0.1) == 1


async def test_the_last_response_counts_and_known_heads_keep_their_time() -> None:
    heads = [b"Keep-Alive: timeout=60\r\n", b"Keep-Alive: timeout=60\r\n", b"", b"Keep-Alive: timeout=1\r\n"]

    async def play(line: Line) -> None:
        for keep_alive in heads:
            await line.head()
            line.send(response(keep_alive))
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        for number in (1, 1, 1, 1, 2, 2, 2, 2, 3):
            await fetch(transport, get())
            assert len(upstream.lines) == number
        await transport.aclose()


async def test_the_time_of_an_outgoing_proxy_is_obeyed() -> None:
    async with Upstream(always(response(b"Keep-Alive: timeout=1\r\n"))) as upstream:
        transport = HTTP11Transport(upstream.url.copy_with(host="api.test", port=80), proxy=upstream.url)
        for _ in range(2):
            await fetch(transport, get())
        await transport.aclose()
        assert len(upstream.lines) == 2
