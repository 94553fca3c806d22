from __future__ import annotations

import asyncio
import ssl

import pytest

from proxy.errors import ConnectionTerminated
from proxy.transport.wire import Wire
from tests.transport.upstream import Line, Upstream


async def connected(upstream: Upstream) -> Wire:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: Wire(loop), "127.0.0.1", upstream.port)
    await upstream.line()
    return wire


async def nothing(line: Line) -> None:
    await line.end()


async def until_stale(wire: Wire) -> None:
    """Wait in the way that the loop hears of nothing: only the kernel knows."""
    for _ in range(100_000):
        if not wire.is_fresh():
            return
    raise AssertionError("nothing arrived")


async def test_a_quiet_open_connection_is_fresh() -> None:
    async with Upstream(nothing) as upstream:
        wire = await connected(upstream)
        assert wire.is_fresh()
        wire.cut()
        assert not wire.is_fresh()


@pytest.mark.parametrize("data", [b"stray", b""])
async def test_what_the_kernel_has_makes_it_stale_before_the_loop_knows(data: bytes) -> None:
    async with Upstream(nothing) as upstream:
        wire = await connected(upstream)
        line = await upstream.line()
        line.writer.get_extra_info("socket").setblocking(False)
        if data:
            line.send(data)
        else:
            line.reset()
            await asyncio.sleep(0)
        await until_stale(wire)
        assert wire.last_words() == data
        wire.cut()


async def test_there_are_no_last_words_on_a_quiet_connection() -> None:
    async with Upstream(nothing) as upstream:
        wire = await connected(upstream)
        assert wire.last_words() == b""
        wire.cut()


async def test_who_waits_to_write_to_a_lost_connection_is_told() -> None:
    async with Upstream(nothing) as upstream:
        wire = await connected(upstream)
        wire.pause_writing()
        waiting = asyncio.ensure_future(wire.drain())
        await asyncio.sleep(0)
        wire.cut()
        with pytest.raises(ConnectionTerminated):
            await waiting
        wire.write(b"ignored")
        wire.slow()
        wire.go_on()


async def test_two_may_wait_and_one_be_cancelled() -> None:
    async with Upstream(nothing) as upstream:
        wire = await connected(upstream)
        wire.pause_writing()
        one, other = (asyncio.ensure_future(wire.drain()) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.sleep(0)
        wire.resume_writing()
        await other
        assert one.cancelled()
        wire.resume_writing()
        wire.cut()


async def test_last_words_can_not_be_read_below_tls(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = certificates
    async with Upstream(nothing, tls=server) as upstream:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            lambda: Wire(loop), "127.0.0.1", upstream.port, ssl=client, server_hostname="localhost"
        )
        assert wire.is_tls
        assert wire.last_words() == b""
        wire.cut()
