from __future__ import annotations

import asyncio

import pytest

from proxy.errors import ConnectionTerminated
from proxy.transport import HTTP11Transport
from tests.transport.requests import EMPTY, OK, fetch, get, until
from tests.transport.upstream import Line, Upstream, always, answers


async def three_at_once(transport: HTTP11Transport) -> None:
    await asyncio.gather(*(fetch(transport, get()) for _ in range(3)))


async def numbered(line: Line) -> None:
    """Say on which connection it is, but only when all three are open."""
    while True:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % line.number)


async def test_the_connection_that_was_used_last_is_used_first() -> None:
    async with Upstream(numbered) as upstream:
        transport = HTTP11Transport(upstream.url)
        responses = [await transport.handle_async_request(get()) for _ in range(1)]
        await three_at_once(transport)
        assert responses
        assert transport.idle == transport.open == 3
        last = (await fetch(transport, get())).body
        for _ in range(5):
            assert (await fetch(transport, get())).body == last
        assert len(upstream.lines) == 3
        await transport.aclose()


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url, keepalive_expiry=0.05)
        await three_at_once(transport)
        assert transport.idle == 3
        for number in range(3):
            await (await upstream.line(number)).ended.wait()
        await until(lambda: not transport.open)
        assert transport.idle == 0
        await transport.aclose()


async def test_a_busy_pool_closes_only_what_is_old() -> None:
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url, keepalive_expiry=0.1)
        await three_at_once(transport)
        while transport.open > 1:
            await fetch(transport, get())
        assert (await fetch(transport, get())).body == b"hello"
        assert len(upstream.lines) == 3
        await transport.aclose()


async def test_a_connection_that_the_upstream_closed_is_replaced_without_a_word() -> None:
    async def once(line: Line) -> None:
        await line.head()
        line.send(OK)
        await line.drain()
        line.close()

    async with Upstream(once) as upstream:
        transport = HTTP11Transport(upstream.url)
        for number in range(5):
            await fetch(transport, get())
            await (await upstream.line(number)).writer.wait_closed()
        assert len(upstream.lines) == 5
        await transport.aclose()


async def test_stray_bytes_on_an_idle_connection_close_it_and_end_the_trust() -> None:
    stray = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(EMPTY)
        await stray.wait()
        line.send(OK)
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        await three_at_once(transport)
        assert transport.idle == 3
        stray.set()
        await until(lambda: not transport.open)
        for _ in range(2):
            await fetch(transport, get())
            assert transport.idle == 0
        await transport.aclose()


async def test_closing_ends_everything_at_once_and_for_good() -> None:
    async with Upstream(answers(b"HTTP/1.1 200 OK\r\n\r\nendless")) as upstream:
        transport = HTTP11Transport(upstream.url)
        response = await transport.handle_async_request(get())
        waiting = asyncio.ensure_future(transport.handle_async_request(get()))
        await until(lambda: not (len(upstream.lines) < 2))
        await transport.aclose()
        assert transport.open == 0
        with pytest.raises(ConnectionTerminated):
            await fetch(transport, get())
        await asyncio.gather(waiting, return_exceptions=True)
        await response.aclose()
        await transport.aclose()


async def test_a_transport_that_was_never_used_can_be_closed() -> None:
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        assert (transport.open, transport.idle) == (0, 0)
        await transport.aclose()
        with pytest.raises(ConnectionTerminated):
            await fetch(transport, get())


async def test_a_connection_that_was_being_made_while_all_was_closed_is_closed_too() -> None:
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        asking = asyncio.ensure_future(fetch(transport, get()))
        await asyncio.sleep(0)
        await transport.aclose()
        with pytest.raises(ConnectionTerminated):
            await asking
        await until(lambda: not transport.open)
