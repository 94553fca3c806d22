from __future__ import annotations

import asyncio

import httpx
import pytest

from proxy.errors import InternalError
from proxy.transport.upload import SMALL, Upload, at_hand, framed
from proxy.transport.writer import CHUNKED
from tests.transport.requests import Pieces, Whole, until

HEAD = b"POST / HTTP/1.1\r\n\r\n"


class Outlet:
    """Where an upload goes; can be full."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.unsent = 0
        self.open = asyncio.Event()
        self.open.set()
        self.over = asyncio.Event()
        self.failure: BaseException | None = None

    def write(self, data: bytes | memoryview) -> None:
        self.writes.append(bytes(data))

    @property
    def is_full(self) -> bool:
        return not self.open.is_set()

    async def drain(self) -> None:
        await self.open.wait()

    def uploaded(self) -> None:
        self.over.set()

    def broke_off(self, failure: BaseException) -> None:
        self.failure = failure
        self.over.set()


async def send(stream: httpx.AsyncByteStream, length: int) -> Outlet:
    outlet = Outlet()
    Upload(outlet, HEAD, length, stream).begin(asyncio.get_running_loop())
    await outlet.over.wait()
    return outlet


async def test_the_head_takes_the_first_small_piece_along() -> None:
    outlet = await send(Pieces([b"ab", b"c"]), 3)
    assert outlet.writes == [HEAD + b"ab", b"c"]


async def test_a_large_piece_is_not_copied() -> None:
    large = b"x" * (SMALL + 1)
    outlet = await send(Pieces([large]), len(large))
    assert outlet.writes == [HEAD, large]


async def test_each_piece_is_a_chunk_and_none_is_empty() -> None:
    outlet = await send(Pieces([b"", b"ab", b"", b"c"]), CHUNKED)
    assert b"".join(outlet.writes) == HEAD + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"


async def test_an_empty_chunked_body_leaves_in_one_write() -> None:
    assert (await send(Pieces([]), CHUNKED)).writes == [HEAD + b"0\r\n\r\n"]


async def test_the_head_does_not_wait_for_a_body_that_is_late() -> None:
    late, outlet = asyncio.Event(), Outlet()
    upload = Upload(outlet, HEAD, CHUNKED, Pieces([late, b"x"]))
    upload.begin(asyncio.get_running_loop())
    await until(lambda: outlet.writes)
    assert outlet.writes == [HEAD]
    assert upload.waiting
    late.set()
    await outlet.over.wait()
    assert b"".join(outlet.writes) == HEAD + b"1\r\nx\r\n0\r\n\r\n"


@pytest.mark.parametrize(("pieces", "sent"), [([b"ab"], b"ab"), ([b"ab", b"cd"], b"ab"), ([], b"")])
async def test_a_body_that_does_not_fit_its_length_is_never_ended(pieces: list[bytes], sent: bytes) -> None:
    stream = Pieces(pieces)
    outlet = await send(stream, 3)
    assert isinstance(outlet.failure, InternalError)
    assert b"".join(outlet.writes) in (sent, HEAD + sent)
    assert stream.closed == 1


@pytest.mark.parametrize("failure", [ValueError("own"), asyncio.CancelledError()])
async def test_what_the_stream_raises_ends_it_as_it_is(failure: BaseException) -> None:
    outlet = await send(Pieces([b"ab", failure]), CHUNKED)
    assert outlet.failure is failure
    assert outlet.writes == [HEAD + b"2\r\nab\r\n"]


@pytest.mark.parametrize("where", ["before the upstream", "before the client"])
async def test_stopping_closes_the_stream_wherever_it_is(where: str) -> None:
    stream = Pieces([b"x"] * 3 if where == "before the upstream" else [asyncio.Event()])
    outlet = Outlet()
    outlet.open.clear()
    upload = Upload(outlet, HEAD, CHUNKED, stream)
    upload.begin(asyncio.get_running_loop())
    await until(lambda: outlet.writes)
    await upload.stop()
    assert (stream.opened, stream.closed) == (1, 1)
    assert outlet.failure is None
    assert not outlet.over.is_set()
    await upload.stop()


async def test_an_upload_that_was_cancelled_from_outside_has_failed() -> None:
    outlet = Outlet()
    upload = Upload(outlet, HEAD, CHUNKED, Pieces([asyncio.Event()]))
    upload.begin(asyncio.get_running_loop())
    await until(lambda: outlet.writes)
    (task,) = (task for task in asyncio.all_tasks() if task is not asyncio.current_task())
    task.cancel()
    await outlet.over.wait()
    assert isinstance(outlet.failure, asyncio.CancelledError)


async def test_an_upload_that_never_began_can_be_stopped() -> None:
    upload = Upload(Outlet(), HEAD, CHUNKED, Pieces([]))
    await upload.stop()
    upload.cut()


async def test_a_stream_may_be_any_iterator() -> None:
    class Once(httpx.AsyncByteStream):
        def __aiter__(self) -> Once:
            self.left = 1
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left = 0
            return b"x"

    assert (await send(Once(), 1)).writes == [HEAD + b"x"]


# -- bodies that are in memory -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "body"),
    [
        (httpx.ByteStream(b"abc"), b"abc"),
        (Whole(b"abc"), b"abc"),
        (Whole(None), None),
        (Whole(b"x" * (SMALL + 1)), None),
        (Pieces([b"abc"]), None),
    ],
)
def test_only_a_small_body_in_memory_is_at_hand(stream: httpx.AsyncByteStream, body: bytes | None) -> None:
    assert at_hand(stream) == body


def test_a_whole_body_is_framed_at_once() -> None:
    assert framed(b"abc", 3) == b"abc"
    assert framed(b"abc", CHUNKED) == b"3\r\nabc\r\n0\r\n\r\n"
    assert framed(b"", CHUNKED) == b"0\r\n\r\n"
    with pytest.raises(InternalError):
        framed(b"abc", 4)
