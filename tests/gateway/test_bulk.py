"""A large body past the parser: queued, or poured from buffers that are used again."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.gateway import bulk
from proxy.gateway.bulk import Bulk

BODY = Random(1).randbytes(1 << 16)


class Pipe(asyncio.Transport):
    """A client's transport, as far as reading goes."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.closing = False
        self.connection: asyncio.BaseProtocol = asyncio.Protocol()
        self.protocol: asyncio.BaseProtocol = self.connection

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Sink:
    """Where a body goes: looks at what it was given only when that leaves.

    Attributes:
        room: bytes that leave at once; what is over waits.

    """

    def __init__(self, room: int = 1 << 30, high: int = 100) -> None:
        self.room = room
        self.high = high
        self.sent = bytearray()
        self.failure: Exception | None = None
        self._waiting: list[bytes | memoryview] = []
        self._low = asyncio.Event()

    def write(self, data: bytes | memoryview) -> None:
        if self.failure is not None:
            raise self.failure
        self._waiting.append(data)
        self.leave(0)

    def leave(self, room: int) -> None:
        """Have so many more bytes leave."""
        self.room += room
        while self._waiting and self.room:
            first = self._waiting.pop(0)
            self.sent += first[: self.room]
            if len(first) > self.room:
                self._waiting.insert(0, first[self.room :])
            self.room = max(0, self.room - len(first))
        if not self.is_full:
            self._low.set()

    async def drain(self) -> None:
        while self.is_full:
            self._low.clear()
            await self._low.wait()

    @property
    def unsent(self) -> int:
        return sum(map(len, self._waiting))

    @property
    def is_full(self) -> bool:
        return self.unsent > self.high


class Source:
    """A client, and the loop that reads from it into whatever the protocol offers."""

    def __init__(self, pipe: Pipe, bulk: Bulk, data: bytes) -> None:
        self._pipe, self._bulk, self._data = pipe, bulk, data
        self.surplus = b""

    @property
    def is_empty(self) -> bool:
        return not self._data

    def come(self, size: int) -> None:
        """Have some bytes arrive, if anybody reads."""
        if not self._pipe.reads or not self._data:
            return
        protocol: Any = self._pipe.protocol  # Any: ours has another method than asyncio's
        if protocol is self._pipe.connection:
            taken, self._data = self._data[:size], self._data[size:]
            self.surplus += self._bulk.feed(taken) if self._bulk.rest else taken
        else:
            buffer = protocol.get_buffer(-1)
            size = min(size, len(buffer), len(self._data))
            buffer[:size] = self._data[:size]
            self._data = self._data[size:]
            protocol.buffer_updated(size)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# -- queued ----------------------------------------------------------------------------------------------


async def test_pieces_as_they_come_and_what_follows_is_not_its_own() -> None:
    body = Bulk(Pipe(), b"ab", 4)
    ended: list[int] = []
    body.on_eof(lambda: ended.append(body.rest))
    assert body.feed(b"cd") == b""
    assert (await body.readany(), body.read_nowait(), body.read_nowait()) == (b"ab", b"cd", b"")
    waiting = asyncio.ensure_future(body.readany())
    await turns()
    assert body.feed(b"efGET") == b"GET"
    assert await waiting == b"ef"
    assert body.is_eof()
    assert await body.readany() == b""
    body.on_eof(lambda: ended.append(-1))
    assert ended == [0, -1]


async def test_a_client_that_is_faster_than_the_reader_is_slowed_down() -> None:
    pipe = Pipe()
    body = Bulk(pipe, b"", 10 << 20)
    piece = bytes(1 << 18)
    for _ in range(2):
        body.feed(piece)
        assert pipe.reads
    body.feed(piece)
    assert not pipe.reads
    body.read_nowait()
    assert not pipe.reads
    body.read_nowait()
    assert pipe.reads


async def test_with_its_end_a_body_holds_nobody_up_any_more() -> None:
    pipe = Pipe()
    body = Bulk(pipe, b"", 1 << 20)
    body.feed(bytes(1 << 20) + b"GET")
    assert body.is_eof()
    assert pipe.reads


async def test_nobody_waits_for_the_rest_of_what_was_given_up() -> None:
    body = Bulk(Pipe(), b"", 10)
    ended: list[int] = []
    body.on_eof(lambda: ended.append(body.rest))
    waiting = asyncio.ensure_future(body.readany())
    await turns()
    body.feed_eof()
    assert await waiting == b""
    assert body.is_eof()
    assert ended == [10]
    await body.pour(Sink(), lambda _: None, None)


# -- poured ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 700)), min_size=1),
    leaving=st.lists(st.integers(0, 700), min_size=1),
    start=st.integers(0, 500),
    high=st.integers(0, 700),
    seed=st.integers(0, 1 << 20),
)
def test_what_leaves_late_is_what_came(sizes: list[int], leaving: list[int], start: int, high: int, seed: int) -> None:
    """No buffer is used again before the last byte of it has left."""

    async def story() -> None:
        random, pipe, sink = Random(seed), Pipe(), Sink(0, high)
        data = BODY[: 4 * 1024]
        body = Bulk(pipe, data[:start], len(data) - start)
        source = Source(pipe, body, data[start:] + b"GET")
        took: list[int] = []
        pouring = asyncio.ensure_future(body.pour(sink, took.append, None))
        while not (pouring.done() and source.is_empty):
            source.come(random.choice(sizes))
            if random.random() < 0.5:
                sink.leave(1 + random.choice(leaving))
            await asyncio.sleep(0)
        await pouring
        sink.leave(1 << 30)
        assert bytes(sink.sent) == data
        assert sum(took) == len(data)
        assert source.surplus == b"GET"
        assert pipe.protocol is pipe.connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "_SIZE", 256)
        patch.setattr(bulk, "_SMALL", 16)
        asyncio.run(story())


async def test_one_buffer_is_enough_for_a_sink_that_keeps_up() -> None:
    pipe, sink = Pipe(), Sink()
    body = Bulk(pipe, b"", len(BODY))
    source = Source(pipe, body, BODY)
    pouring = asyncio.ensure_future(body.pour(sink, lambda _: None, None))
    await turns()
    buffers = set()
    while not source.is_empty:
        protocol: Any = pipe.protocol
        buffers.add(id(protocol.get_buffer(-1).obj))
        source.come(20_000)
    await pouring
    assert sink.sent == BODY
    assert len(buffers) == 1


async def test_who_is_broken_off_leaves_the_rest_to_be_read() -> None:
    pipe, sink = Pipe(), Sink(0)
    body = Bulk(pipe, b"", len(BODY))
    source = Source(pipe, body, BODY)
    pouring = asyncio.ensure_future(body.pour(sink, lambda _: None, None))
    await turns()
    source.come(1000)
    pouring.cancel()
    await asyncio.wait([pouring])
    assert pipe.reads
    source.come(100_000)
    assert body.read_nowait() == BODY[1000:]
    assert body.is_eof()


async def test_what_the_sink_raises_is_raised() -> None:
    pipe, sink = Pipe(), Sink()
    sink.failure = ValueError("own")
    source = Source(pipe, body := Bulk(pipe, b"", 10), b"0123456789")
    pouring = asyncio.ensure_future(body.pour(sink, lambda _: None, None))
    await turns()
    source.come(5)
    with pytest.raises(ValueError, match="own"):
        await pouring
    assert pipe.protocol is pipe.connection


async def test_a_client_that_says_nothing_for_too_long_is_given_up() -> None:
    pipe = Pipe()
    body = Bulk(pipe, b"", 10)
    with pytest.raises(TimeoutError):
        await body.pour(Sink(), lambda _: None, 0.01)
    assert pipe.protocol is pipe.connection


async def test_but_not_while_it_is_told_to_wait() -> None:
    pipe, sink = Pipe(), Sink(0)
    body = Bulk(pipe, b"", len(BODY))
    source = Source(pipe, body, BODY)
    pouring = asyncio.ensure_future(body.pour(sink, lambda _: None, 0.02))
    await turns()
    source.come(1000)
    assert not pipe.reads
    await asyncio.wait([pouring], timeout=0.1)
    assert not pouring.done()
    sink.leave(1 << 30)
    await turns()
    source.come(100_000)
    await pouring
    assert sink.sent == BODY


async def test_of_a_connection_that_closes_nothing_is_changed() -> None:
    pipe = Pipe()
    body = Bulk(pipe, b"", 10)
    pouring = asyncio.ensure_future(body.pour(Sink(), lambda _: None, None))
    await turns()
    stands_in = pipe.protocol
    assert stands_in is not pipe.connection
    pipe.closing = True
    pouring.cancel()
    await asyncio.wait([pouring])
    assert pipe.protocol is stands_in
