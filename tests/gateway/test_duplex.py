"""A connection after 101: bytes pass both ways."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from proxy.gateway import Story
from proxy.gateway.duplex import MOST, Upgraded, both_ways
from tests.doubles import settle


class Side:
    """Either side: says what it is told to, keeps what it is sent."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.heard: list[bytes] = []
        self.listens = asyncio.Event()
        self.listens.set()
        self.gone = False
        self.closed = False

    async def _next(self) -> bytes:
        said = await self.says.get()
        if isinstance(said, Exception):
            raise said
        return said


class Client(Side):
    def write(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionResetError
        self.heard.append(data)

    async def drain(self) -> None:
        await self.listens.wait()

    def abort(self) -> None:
        raise AssertionError

    async def read(self) -> bytes:
        return await self._next()


class Peer(Side):
    async def read(self, max_bytes: int) -> bytes:
        return await self._next()

    async def write(self, data: bytes) -> None:
        await self.listens.wait()
        self.heard.append(data)

    async def aclose(self) -> None:
        self.closed = True


class Talk:
    def __init__(self) -> None:
        self.client, self.peer = Client(), Peer()
        self.story = Story("GET", "/", 0.0)
        self.task = asyncio.create_task(both_ways(self.client, self.peer, self.story))


async def test_bytes_pass_both_ways_and_are_counted() -> None:
    talk = Talk()
    talk.client.says.put_nowait(b"\x81\x01a")
    talk.peer.says.put_nowait(b"bc")
    talk.peer.says.put_nowait(b"d")
    await settle()
    assert talk.peer.heard == [b"\x81\x01a"]
    assert talk.client.heard == [b"bc", b"d"]
    assert (talk.story.received, talk.story.returned) == (3, 3)
    talk.client.says.put_nowait(b"")
    await talk.task
    assert talk.peer.closed


@pytest.mark.parametrize("end", [b"", ConnectionResetError()])
@pytest.mark.parametrize("side", ["client", "peer"])
async def test_the_end_of_either_side_is_the_end(side: str, end: bytes | Exception) -> None:
    talk = Talk()
    getattr(talk, side).says.put_nowait(end)
    await talk.task
    assert talk.peer.closed


async def test_a_client_that_has_gone_is_the_end() -> None:
    talk = Talk()
    talk.client.gone = True
    talk.peer.says.put_nowait(b"a")
    await talk.task
    assert talk.peer.closed


async def test_who_is_cancelled_closes_the_upstreams_side() -> None:
    talk = Talk()
    await settle()
    talk.task.cancel()
    await asyncio.wait([talk.task])
    assert talk.peer.closed


async def test_a_client_that_does_not_read_slows_the_upstream_down() -> None:
    talk = Talk()
    talk.client.listens.clear()
    for piece in (b"a", b"b"):
        talk.peer.says.put_nowait(piece)
    await settle()
    assert talk.client.heard == [b"a"]
    talk.client.listens.set()
    await settle()
    assert talk.client.heard == [b"a", b"b"]
    talk.peer.says.put_nowait(b"")
    await talk.task


# -- what a client sends ---------------------------------------------------------------------------------


class Transport:
    """Told to go on or not."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.closing = False

    def pause_reading(self) -> None:
        self.said.append("pause")

    def resume_reading(self) -> None:
        self.said.append("resume")

    def is_closing(self) -> bool:
        return self.closing


def upgraded() -> tuple[Upgraded, Transport]:
    transport = Transport()
    return Upgraded(cast("asyncio.Transport", transport)), transport


async def test_pieces_are_read_together_and_then_the_end() -> None:
    reader, transport = upgraded()
    assert reader.feed_data(b"a") == (False, b"")
    reader.feed_data(b"b")
    reader.feed_eof()
    assert await reader.read() == b"ab"
    assert await reader.read() == b""
    assert transport.said == []


async def test_a_reader_waits_for_what_comes() -> None:
    reader, _ = upgraded()
    for sent in (b"a", b"b"):
        reading = asyncio.create_task(reader.read())
        await settle()
        assert not reading.done()
        reader.feed_data(sent)
        assert await reading == sent
    reading = asyncio.create_task(reader.read())
    await settle()
    reader.feed_eof()
    assert await reading == b""


async def test_too_much_that_waits_stops_the_client() -> None:
    reader, transport = upgraded()
    reader.feed_data(b"x" * MOST)
    assert transport.said == []
    reader.feed_data(b"x")
    assert transport.said == ["pause"]
    assert len(await reader.read()) == MOST + 1
    assert transport.said == ["pause", "resume"]


async def test_a_client_that_has_gone_is_not_told_to_go_on() -> None:
    reader, transport = upgraded()
    reader.feed_data(b"x" * (MOST + 1))
    transport.closing = True
    await reader.read()
    assert transport.said == ["pause"]
