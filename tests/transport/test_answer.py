from __future__ import annotations

import asyncio

import pytest

from proxy.errors import ResponseIncomplete
from proxy.transport.answer import HIGH, Answer
from proxy.transport.parser import AnswerParser


class Line:
    """The connection of an answer; keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def slow(self) -> None:
        self.told.append("slow")

    def go_on(self) -> None:
        self.told.append("go on")

    def spoil(self) -> None:
        self.told.append("spoil")

    def uploaded(self) -> None:
        self.told.append("uploaded")

    def leave(self) -> None:
        self.told.append("leave")

    def abort(self) -> None:
        self.told.append("abort")


class Arriving:
    """An answer, and the bytes that make it."""

    def __init__(self) -> None:
        self.line = Line()
        self.answer = Answer(self.line, asyncio.get_running_loop())
        self._parser = AnswerParser(max_head=4096, max_fields=16)

    def come(self, data: bytes) -> None:
        self._parser.feed(data)
        self.answer.take(self._parser)
        self.answer.arrived(len(data))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"


async def test_what_is_there_is_ready_and_taken_once() -> None:
    arriving = Arriving()
    arriving.come(HEAD + b"abc")
    await arriving.answer.head()
    assert arriving.answer.ready() == (b"abc", False)
    assert arriving.answer.ready() == (b"", False)
    arriving.come(b"def")
    assert arriving.answer.ready() == (b"def", True)
    assert [piece async for piece in arriving.answer] == []


async def test_pieces_are_handed_on_as_they_come() -> None:
    arriving = Arriving()
    arriving.come(ENDLESS)
    reading = asyncio.ensure_future(anext(aiter(arriving.answer)))
    await asyncio.sleep(0)
    arriving.come(b"data: 1\n\n")
    assert await reading == b"data: 1\n\n"


async def test_small_pieces_are_joined_and_large_ones_are_not_copied() -> None:
    arriving = Arriving()
    arriving.come(ENDLESS)
    for piece in (b"a", b"b"):
        arriving.come(piece)
    assert await anext(arriving.answer) == b"ab"
    large = b"x" * 50_000
    for _ in range(2):
        arriving.come(large)
    assert await anext(arriving.answer) is large
    assert await anext(arriving.answer) is large


async def test_an_upstream_is_slowed_down_while_nobody_reads() -> None:
    arriving = Arriving()
    arriving.come(ENDLESS)
    for _ in range(5):
        arriving.come(b"x" * (HIGH // 4 + 1))
    assert arriving.line.told == ["slow"]
    assert arriving.answer.slowed
    for _ in range(5):
        await anext(arriving.answer)
    assert arriving.line.told == ["slow", "go on"]


async def test_taking_what_is_ready_lets_it_go_on_too() -> None:
    arriving = Arriving()
    arriving.come(ENDLESS)
    arriving.come(b"x" * (HIGH + 1))
    arriving.answer.ready()
    assert arriving.line.told == ["slow", "go on"]


async def test_a_failure_comes_after_what_had_arrived() -> None:
    arriving = Arriving()
    arriving.come(HEAD + b"abc")
    failure = ResponseIncomplete(sent=True, begun=True)
    arriving.answer.fail(failure)
    await arriving.answer.head()
    assert await anext(arriving.answer) == b"abc"
    with pytest.raises(ResponseIncomplete):
        await anext(arriving.answer)


async def test_a_reader_that_is_cancelled_costs_the_connection() -> None:
    arriving = Arriving()
    arriving.come(HEAD)
    reading = asyncio.ensure_future(anext(aiter(arriving.answer)))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert arriving.line.told == ["abort"]


async def test_who_waits_for_the_head_may_be_cancelled() -> None:
    arriving = Arriving()
    waiting = asyncio.ensure_future(arriving.answer.head())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert arriving.line.told == ["abort"]
    arriving.come(HEAD)


async def test_an_answer_that_was_let_go_needs_no_connection() -> None:
    arriving = Arriving()
    arriving.come(HEAD)
    arriving.answer.arrived(HIGH + 1)
    arriving.answer.let_go()
    arriving.come(b"abcdef")
    assert [piece async for piece in arriving.answer] == [b"abcdef"]
    await arriving.answer.aclose()
    await arriving.answer.abort()
    assert arriving.line.told == ["slow"]


async def test_closing_leaves_the_connection_once() -> None:
    arriving = Arriving()
    arriving.come(HEAD)
    await arriving.answer.aclose()
    await arriving.answer.aclose()
    assert arriving.line.told == ["leave"]
