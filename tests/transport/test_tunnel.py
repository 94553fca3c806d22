from __future__ import annotations

import asyncio

import pytest

from proxy.errors import ConnectionTerminated
from proxy.transport.tunnel import Tunnel


class Wire:
    """A connection that can be full."""

    def __init__(self) -> None:
        self.sent = b""
        self.told: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None:
        await self.open.wait()

    def slow(self) -> None:
        self.told.append("slow")

    def go_on(self) -> None:
        self.told.append("go on")

    def close(self) -> None:
        self.told.append("close")


def tunnel(leftover: bytes = b"") -> tuple[Tunnel, Wire]:
    wire = Wire()
    return Tunnel(wire, asyncio.get_running_loop(), leftover), wire


async def test_what_followed_the_head_comes_first() -> None:
    subject, _ = tunnel(b"first")
    subject.feed(b"second")
    assert await subject.read() == b"first"
    assert await subject.read() == b"second"


async def test_a_reader_gets_no_more_than_it_wants() -> None:
    subject, _ = tunnel(b"abcdef")
    assert await subject.read(4) == b"abcd"
    assert await subject.read(4) == b"ef"


async def test_a_reader_waits_for_bytes_and_for_the_end() -> None:
    subject, _ = tunnel()
    for data in (b"x", b""):
        reading = asyncio.ensure_future(subject.read())
        await asyncio.sleep(0)
        subject.feed(data) if data else subject.end()
        assert await reading == data


async def test_a_broken_connection_is_no_end() -> None:
    subject, _ = tunnel(b"last")
    subject.end(ConnectionResetError())
    assert await subject.read() == b"last"
    with pytest.raises(ConnectionTerminated):
        await subject.read()


async def test_a_slow_reader_slows_the_upstream_down() -> None:
    subject, wire = tunnel()
    for _ in range(4):
        subject.feed(b"x" * 100_000)
    assert wire.told == ["slow"]
    for _ in range(4):
        await subject.read(100_000)
    assert wire.told == ["slow", "go on"]


async def test_a_writer_waits_for_a_slow_upstream() -> None:
    subject, wire = tunnel()
    wire.open.clear()
    writing = asyncio.ensure_future(subject.write(b"x"))
    await asyncio.sleep(0)
    assert not writing.done()
    wire.open.set()
    await writing
    assert wire.sent == b"x"
    await subject.aclose()
    assert wire.told == ["close"]
