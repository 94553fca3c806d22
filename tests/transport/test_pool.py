from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from proxy.errors import ConnectionTerminated
from proxy.transport import HTTP11Transport, Reservation
from tests.transport.requests import EMPTY, OK, fetch, get, read, until
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


# -- reservations ------------------------------------------------------------------------------------


def reserved(reservation: Reservation, method: str = "GET") -> httpx.Request:
    request = get(method=method)
    request.extensions["reservation"] = reservation
    return request


async def test_nobody_else_uses_a_reserved_connection() -> None:
    async with Upstream(numbered) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        assert (await fetch(transport, reserved(reservation))).body == b"0"
        assert (transport.open, transport.idle) == (1, 0)
        assert (await fetch(transport, get())).body == b"1"
        assert (await fetch(transport, reserved(reservation))).body == b"0"
        reservation.release()
        assert (transport.open, transport.idle) == (2, 2)
        assert (await fetch(transport, get())).body == b"0"
        await transport.aclose()


async def test_an_idle_connection_is_reserved_before_a_new_one_is_made() -> None:
    async with Upstream(numbered) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, get())
        reservation = Reservation()
        assert (await fetch(transport, reserved(reservation))).body == b"0"
        reservation.release()
        reservation.release()
        assert (transport.open, transport.idle) == (1, 1)
        await transport.aclose()


async def test_a_reservation_that_ends_early_gives_the_connection_back_with_the_end_of_the_response() -> None:
    async with Upstream(numbered) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        response = await transport.handle_async_request(reserved(reservation))
        reservation.release()
        assert (await read(response)).body == b"0"
        assert (transport.open, transport.idle) == (1, 1)
        await transport.aclose()


async def test_a_reserved_connection_that_the_upstream_closed_is_replaced() -> None:
    async def once(line: Line) -> None:
        await line.head()
        line.send(OK)
        await line.drain()
        line.close()

    async with Upstream(once) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        for number in range(3):
            await fetch(transport, reserved(reservation))
            await (await upstream.line(number)).writer.wait_closed()
        reservation.release()
        await until(lambda: not transport.open)
        assert (len(upstream.lines), transport.idle) == (3, 0)
        await transport.aclose()


async def test_a_busy_connection_of_a_reservation_is_replaced() -> None:
    finish = asyncio.Event()

    async def play(line: Line) -> None:
        await line.head()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await finish.wait()
        line.send(b"hello")
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        first = await transport.handle_async_request(reserved(reservation))
        second = await transport.handle_async_request(reserved(reservation))
        assert len(upstream.lines) == 2
        finish.set()
        await read(first)
        assert (transport.open, transport.idle) == (2, 1)  # the first is nobody's any more
        await read(second)
        assert (transport.open, transport.idle) == (2, 1)
        reservation.release()
        assert (transport.open, transport.idle) == (2, 2)
        await transport.aclose()


async def connections_of_a_flow(response: bytes, pause: float = 0.0, **options: Any) -> list[int]:
    """How many connections there have been after each of three requests of a flow, and how many are idle after it."""
    async with Upstream(always(response)) as upstream:
        transport = HTTP11Transport(upstream.url, **options)
        reservation = Reservation()
        made = []
        for _ in range(3):
            await fetch(transport, reserved(reservation))
            made.append(len(upstream.lines))
            await asyncio.sleep(pause)
        reservation.release()
        made.append(transport.idle)
        await transport.aclose()
    return made


def lasting(keep_alive: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nKeep-Alive: %b\r\nContent-Length: 0\r\n\r\n" % keep_alive


async def test_a_reserved_connection_has_its_time_as_well() -> None:
    assert (await connections_of_a_flow(EMPTY, 0.1, keepalive_expiry=0.02))[:3] == [1, 2, 3]
    assert (await connections_of_a_flow(lasting(b"timeout=0.05"), 0.1))[:3] == [1, 2, 3]


async def test_a_reserved_connection_is_used_in_its_last_second() -> None:
    assert await connections_of_a_flow(lasting(b"timeout=1")) == [1, 1, 1, 0]
    assert await connections_of_a_flow(lasting(b"timeout=60")) == [1, 1, 1, 1]


@pytest.mark.parametrize("keep_alive", [b"timeout=0", b"timeout=60, max=0"])
async def test_a_reserved_connection_without_any_time_is_not_kept(keep_alive: bytes) -> None:
    assert await connections_of_a_flow(lasting(keep_alive)) == [1, 2, 3, 0]


async def test_a_cancelled_request_leaves_nothing_reserved() -> None:
    async def silent(line: Line) -> None:
        await line.head()
        await line.end()

    async with Upstream(silent) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        waiting = asyncio.ensure_future(transport.handle_async_request(reserved(reservation)))
        line = await upstream.line()
        await until(lambda: line.received)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        reservation.release()
        await until(lambda: not transport.open)
        assert transport.idle == 0
        await transport.aclose()


async def test_stray_bytes_end_the_trust_in_a_reserved_connection_as_well() -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(EMPTY if line.number else EMPTY + b"stray")
        await line.end()

    async with Upstream(play) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation, other = Reservation(), Reservation()
        await fetch(transport, get())  # closes the first one, and nothing is used twice for a while
        await fetch(transport, reserved(reservation))
        assert len(upstream.lines) == 2
        await fetch(transport, reserved(other))
        await fetch(transport, reserved(reservation))
        assert len(upstream.lines) == 4
        reservation.release()
        other.release()
        await until(lambda: not transport.open)
        await transport.aclose()


async def test_closing_closes_reserved_connections() -> None:
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        reservation = Reservation()
        await fetch(transport, reserved(reservation))
        await transport.aclose()
        assert transport.open == 0
        reservation.release()
        with pytest.raises(ConnectionTerminated):
            await fetch(transport, reserved(reservation))
