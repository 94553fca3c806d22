"""The relay does what it says: else the journeys over it would prove nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.relay import UNHARMED, Fate, Fates, Relay, seeded

SENT = bytes(range(256)) * 40


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@asynccontextmanager
async def through(fates: Fates) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, Relay(server.sockets[0].getsockname()[1], fates) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(SENT)
        yield reader, writer
        writer.close()


@pytest.mark.parametrize(
    "fates",
    [
        UNHARMED,
        Fates(Fate(piece=7), Fate(piece=1460)),
        Fates(down=Fate(latency=0.001)),
        Fates(up=Fate(bandwidth=1 << 20)),
    ],
    ids=["as-it-is", "in-pieces", "late", "narrow"],
)
async def test_what_is_only_slow_arrives_unharmed(fates: Fates) -> None:
    async with through(fates) as (reader, writer):
        writer.write_eof()
        assert await reader.read() == SENT


@pytest.mark.parametrize("end", ["close", "half-close"])
async def test_it_ends_after_so_many_bytes(end: str) -> None:
    async with through(Fates(down=Fate(after=1000, end=end))) as (reader, _):  # type: ignore[arg-type]
        assert await reader.read() == SENT[:1000]


async def test_it_ends_by_a_reset() -> None:
    async with through(Fates(up=Fate(after=1000))) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_it_hangs() -> None:
    async with through(Fates(down=Fate(after=10, end="hang"))) as (reader, _):
        assert await reader.readexactly(10) == SENT[:10]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)


async def test_bandwidth_is_what_it_says() -> None:
    began = time.monotonic()
    async with through(Fates(down=Fate(bandwidth=len(SENT) * 10))) as (reader, _):
        await reader.readexactly(len(SENT))
    assert time.monotonic() - began >= 0.1


async def test_connections_have_their_fates_by_their_numbers() -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server, Relay(server.sockets[0].getsockname()[1], {1: Fates(down=Fate(after=1, end="close"))}) as relay:
        seen = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(b"abc")
            writer.write_eof()
            seen.append(await reader.read())
            writer.close()
        assert (seen, relay.count) == ([b"abc", b"a", b"abc"], 3)


def test_a_seed_is_a_plan() -> None:
    one, same, other = ([seeded(seed, 0.3)(number) for number in range(500)] for seed in (1, 1, 2))
    assert one == same != other
    assert 100 < sum(fates != UNHARMED for fates in one) < 200
    ended = {fates.down.end for fates in one if fates.down.after is not None}
    assert ended == {"reset", "close", "half-close"}
    assert any(fates.up.after for fates in one)
