from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.errors import ResponseIncomplete
from proxy.transport.kept import Kept, peek
from tests.doubles import Pieces, answer, settle


async def read(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


class Told(httpx.AsyncByteStream):
    """A body whose pieces come when they are told to; an exception breaks it off."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.closed = self.broken = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (piece := await self.queue.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        except asyncio.CancelledError:
            self.broken = True
            raise

    async def aclose(self) -> None:
        self.closed = True


def told(*pieces: bytes | Exception | None) -> tuple[httpx.Response, Told]:
    body = Told()
    for piece in pieces:
        body.queue.put_nowait(piece)
    return httpx.Response(200, stream=body), body


async def test_the_start_is_read_and_everything_is_still_there() -> None:
    response = answer(200, [], b"ab", b"cd", b"ef")
    assert await peek(response, 3, 1) == b"abcd"
    assert await read(response) == b"abcdef"


async def test_an_answer_that_is_shorter_is_read_whole() -> None:
    response = answer(200, [], b"ab")
    assert await peek(response, 100, 1) == b"ab"
    assert await read(response) == b"ab"
    assert await read(answer(200)) == b""


async def test_it_can_be_looked_at_twice() -> None:
    response = answer(200, [], b"ab", b"cd")
    assert await peek(response, 1, 1) == b"ab"
    assert await peek(response, 100, 1) == b"abcd"
    assert await read(response) == b"abcd"


async def test_what_is_slow_is_not_waited_for_and_not_broken_off() -> None:
    response, body = told(b"data: 1\n\n")
    assert await peek(response, 100, 0.001) == b"data: 1\n\n"
    reader = asyncio.create_task(read(response))
    await settle()
    body.queue.put_nowait(b"data: 2\n\n")
    body.queue.put_nowait(None)
    assert await reader == b"data: 1\n\ndata: 2\n\n"
    assert not body.broken


async def test_what_breaks_off_fails_who_reads_it() -> None:
    response, _ = told(b"ab", ResponseIncomplete(begun=True))
    assert await peek(response, 100, 1) == b"ab"
    with pytest.raises(ResponseIncomplete):
        await read(response)


async def test_closing_it_ends_what_was_waited_for() -> None:
    response, body = told(b"ab")
    await peek(response, 100, 0.001)
    await response.aclose()
    assert (body.closed, body.broken) == (True, True)


async def test_closing_it_forgets_how_it_failed() -> None:
    response, body = told(ResponseIncomplete(begun=True))
    await peek(response, 100, 1)
    await response.aclose()
    assert body.closed


async def test_who_goes_away_while_it_is_read_closes_it() -> None:
    response, body = told()
    peeking = asyncio.create_task(peek(response, 100, 60))
    await settle()
    peeking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await peeking
    assert body.closed


async def test_a_start_goes_before_the_rest() -> None:
    stream = Pieces(b"c")
    kept = Kept(b"ab", aiter(stream), stream)
    assert [piece async for piece in kept] == [b"ab", b"c"]
    await kept.aclose()
    assert stream.closed
