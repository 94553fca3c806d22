"""A request's body: streamed on, and kept meanwhile for a replay."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.errors import BodyTooLarge, InternalError, MalformedRequest
from proxy.gateway import body as module
from proxy.gateway.body import NO_BODY, Body, BodyNotKept, LimitSettings
from proxy.threads import Threads

MIB = 1 << 20


class Client:
    """Sends pieces; an exception among them is raised, and at an event the client is slow."""

    def __init__(self, *pieces: bytes | Exception | asyncio.Event) -> None:
        self.left = list(pieces)
        self.asked = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        self.asked += 1
        while self.left:
            piece = self.left[0]
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                self.left.pop(0)
                continue
            self.left.pop(0)
            if isinstance(piece, Exception):
                raise piece
            yield piece


def limits(memory: int = MIB, disk: int = MIB, body: int = 0) -> LimitSettings:
    return LimitSettings(replay_memory=memory, replay_disk=disk, body=body)


async def read(body: Body) -> bytes:
    return b"".join([piece async for piece in body])


async def begin(body: Body, pieces: int) -> bytes:
    """Read some pieces and break off, as a transport does whose upstream answers early."""
    got = b""
    iterator = aiter(body)
    for _ in range(pieces):
        got += await anext(iterator)
    await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator
    return got


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """Every temporary file that is made."""
    made: list[IO[bytes]] = []
    make = tempfile.TemporaryFile

    def kept(*args: Any, **options: Any) -> IO[bytes]:
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", kept)
    return made


async def test_a_request_without_a_body_has_none() -> None:
    assert [piece async for piece in NO_BODY] == []
    assert NO_BODY.replayable
    await NO_BODY.aclose()
    assert NO_BODY.replayable


# -- where it is kept --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "disk", "replayable", "on_disk"),
    [
        (100, 100, True, False),
        (9, 0, True, False),
        (8, 0, False, False),
        (8, 1, True, True),
        (0, 9, True, True),
        (0, 8, False, True),
    ],
)
async def test_it_is_kept_in_memory_then_in_a_file_then_not_at_all(
    memory: int, disk: int, files: list[IO[bytes]], *, replayable: bool, on_disk: bool
) -> None:
    body = Body(Client(b"abc", b"def", b"ghi"), limits(memory, disk))
    assert await read(body) == b"abcdefghi"
    assert body.received == 9
    assert body.replayable is replayable
    assert bool(files) is on_disk
    if replayable:
        assert await read(body) == b"abcdefghi"
        assert await read(body) == b"abcdefghi"
    else:
        with pytest.raises(BodyNotKept):
            await read(body)
    await body.aclose()
    assert not body.replayable
    assert all(file.closed for file in files)


async def test_the_file_has_no_name_and_is_its_owners_only(files: list[IO[bytes]], tmp_path: Path) -> None:
    tempfile.tempdir = str(tmp_path)
    try:
        body = Body(Client(b"x" * 100), limits(10, 1000))
        await read(body)
        assert list(tmp_path.iterdir()) == []
        assert os.fstat(files[0].fileno()).st_mode & 0o077 == 0
        await body.aclose()
    finally:
        tempfile.tempdir = None


async def test_what_is_over_both_limits_streams_on(files: list[IO[bytes]]) -> None:
    body = Body(Client(b"a" * 8, b"b" * 8, b"c" * 8, b"d" * 8), limits(8, 8))
    assert await read(body) == b"a" * 8 + b"b" * 8 + b"c" * 8 + b"d" * 8
    assert body.received == 32
    assert files[0].closed


@pytest.mark.parametrize(("length", "on_disk"), [(32, False), (17, False), (16, True), (None, True)])
async def test_what_is_announced_to_be_over_both_limits_is_not_put_on_disk(
    length: int | None, files: list[IO[bytes]], *, on_disk: bool
) -> None:
    body = Body(Client(b"a" * 8, b"b" * 8, b"c" * 8, b"d" * 8), limits(8, 8), length)
    await begin(body, 2)
    assert bool(files) is on_disk
    assert body.replayable is on_disk
    await body.aclose()


async def test_what_is_announced_to_be_over_both_limits_can_be_sent_again_while_it_fits_in_memory() -> None:
    body = Body(Client(b"a" * 8, b"b" * 8, b"c" * 8), limits(8, 8), 24)
    await begin(body, 1)
    assert body.replayable
    assert await read(body) == b"a" * 8 + b"b" * 8 + b"c" * 8


async def test_a_large_body_comes_back_in_pieces(files: list[IO[bytes]]) -> None:
    sent = [os.urandom(100_000) for _ in range(5)]
    body = Body(Client(*sent), limits(150_000, MIB))
    assert await read(body) == b"".join(sent)
    again = [piece async for piece in body]
    assert b"".join(again) == b"".join(sent)
    assert max(map(len, again)) <= 1 << 16
    await body.aclose()


# -- a second time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [0, 4, 100])
@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
async def test_a_replay_after_a_part_was_read_has_all_of_it(memory: int, pieces: int) -> None:
    client = Client(b"abc", b"def", b"ghi")
    body = Body(client, limits(memory, 1000))
    assert await begin(body, pieces) == b"abcdefghi"[: 3 * pieces]
    assert await read(body) == b"abcdefghi"
    assert await read(body) == b"abcdefghi"
    assert client.asked == 1
    await body.aclose()


@given(
    st.lists(st.binary(max_size=9), max_size=8),
    st.lists(st.integers(0, 8), max_size=4),
    st.integers(0, 20),
    st.integers(0, 60),
)
async def test_however_often_it_is_broken_off(sent: list[bytes], breaks: list[int], memory: int, disk: int) -> None:
    whole = b"".join(sent)
    body = Body(Client(*sent), limits(memory, disk))
    for pieces in breaks:
        if not body.replayable:
            break
        got = b""
        iterator = aiter(body)
        for _ in range(pieces):
            got += await anext(iterator, b"")
        await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert whole.startswith(got)
    if body.replayable:
        assert await read(body) == whole
        assert body.received == len(whole)
    else:
        assert body.received > memory + disk
    await body.aclose()


async def test_a_client_that_is_slow_when_it_is_broken_off_has_not_sent_all() -> None:
    slow = asyncio.Event()
    body = Body(Client(b"abc", slow, b"def"), limits())
    upload = asyncio.create_task(read(body))
    while body.received < 3:
        await asyncio.sleep(0)
    upload.cancel()
    await asyncio.wait([upload])
    slow.set()
    assert await read(body) == b"abcdef"


async def test_a_client_that_is_slow_again_and_again() -> None:
    events = [asyncio.Event() for _ in range(3)]
    body = Body(Client(b"a", events[0], b"b", events[1], b"c", events[2], b"d"), limits(1, 100))
    for received, event in enumerate(events, 1):
        upload = asyncio.create_task(read(body))
        while body.received < received:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        upload.cancel()
        await asyncio.wait([upload])
        event.set()
    assert await read(body) == b"abcd"
    await body.aclose()


async def test_a_client_that_broke_off_never_looks_as_if_it_had_sent_all() -> None:
    body = Body(Client(b"abc", MalformedRequest("the body is malformed")), limits())
    for _ in range(3):
        with pytest.raises(MalformedRequest):
            await read(body)
    assert body.received == 3


async def test_neither_does_one_that_went_away() -> None:
    body = Body(Client(b"abc", ConnectionResetError()), limits())
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            await read(body)


# -- limits.body -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "fits"), [(0, True), (9, True), (10, True), (8, False), (1, False)])
async def test_the_limit_of_a_body(limit: int, *, fits: bool) -> None:
    body = Body(Client(b"abc", b"def", b"ghi"), limits(body=limit))
    if fits:
        assert await read(body) == b"abcdefghi"
        return
    for _ in range(2):
        with pytest.raises(BodyTooLarge) as caught:
            await read(body)
        assert not isinstance(caught.value, BodyNotKept)


async def test_a_piece_that_goes_over_the_limit_is_not_sent() -> None:
    body = Body(Client(b"abc", b"def"), limits(body=5))
    pieces = aiter(body)
    assert await anext(pieces) == b"abc"
    with pytest.raises(BodyTooLarge):
        await anext(pieces)


# -- the disk --------------------------------------------------------------------------------------------


class Held:
    """Holds the threads that work on the file, until it lets go."""

    def __init__(self, body: Body, name: str) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()
        self._work: Callable[..., Any] = getattr(body, name)
        setattr(body, name, self)

    def __call__(self, *args: Any) -> Any:
        self.entered.set()
        assert self.go.wait(10)
        return self._work(*args)

    async def entry(self) -> None:
        while not self.entered.is_set():
            await asyncio.sleep(0.001)


async def test_breaking_off_while_the_disk_is_slow_loses_nothing() -> None:
    body = Body(Client(b"abc", b"def"), limits(2, 100))
    disk = Held(body, "_spill")
    upload = asyncio.create_task(read(body))
    await disk.entry()
    upload.cancel()
    await asyncio.wait([upload])
    replay = asyncio.create_task(read(body))
    await asyncio.sleep(0.01)
    assert not replay.done()
    disk.go.set()
    assert await replay == b"abcdef"
    await body.aclose()


async def test_the_end_does_not_wait_for_the_disk_and_leaves_no_file(files: list[IO[bytes]]) -> None:
    spool = Threads("spool")
    body = Body(Client(b"abc", b"def"), limits(2, 100), None, spool)
    await begin(body, 1)
    disk = Held(body, "_spill")
    upload = asyncio.create_task(read(body))
    await disk.entry()
    upload.cancel()
    await asyncio.wait([upload])
    await asyncio.wait_for(body.aclose(), 10)
    disk.go.set()
    await asyncio.wrap_future(spool.submit(int))  # the one thread is through with what came before
    assert [file.closed for file in files] == [True]


@pytest.mark.parametrize("hanging", [1, 20])
async def test_a_disk_that_hangs_costs_the_replay_and_not_the_request(
    hanging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, make = threading.Event(), tempfile.TemporaryFile

    def hangs() -> IO[bytes]:
        assert go.wait(30)
        return make()

    monkeypatch.setattr(tempfile, "TemporaryFile", hangs)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    spool = Threads("spool", 4)
    bodies = [Body(Client(b"abc", b"def"), limits(2, 100), None, spool) for _ in range(hanging)]
    assert await asyncio.wait_for(asyncio.gather(*map(read, bodies)), 10) == [b"abcdef"] * hanging
    assert not any(body.replayable for body in bodies)
    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    other = Body(Client(b"abc", b"def"), limits(2, 100), None, Threads("spool of another route"))
    assert await asyncio.wait_for(read(other), 10) == b"abcdef"
    assert other.replayable
    for body in (*bodies, other):
        await asyncio.wait_for(body.aclose(), 10)
    go.set()
    for _ in range(4):
        await asyncio.wrap_future(spool.submit(int))


async def test_a_body_that_can_not_be_read_again_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    body = Body(Client(b"abc", b"def"), limits(2, 100))
    await read(body)
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    disk = Held(body, "_read_at")
    with pytest.raises(InternalError, match="can't be read again"):
        await read(body)
    disk.go.set()
    await body.aclose()


async def test_without_a_thread_the_body_is_just_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    body = Body(Client(b"abc", b"def"), limits(2, 100))
    assert await read(body) == b"abcdef"
    assert not body.replayable
    await body.aclose()


async def test_breaking_off_a_replay_while_the_disk_is_slow_harms_no_other() -> None:
    sent = os.urandom(200_000)
    body = Body(Client(sent), limits(10, MIB))
    assert await read(body) == sent
    disk = Held(body, "_read_at")
    first = asyncio.create_task(read(body))
    await disk.entry()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(read(body))
    await asyncio.sleep(0)
    disk.go.set()
    assert await second == sent
    await body.aclose()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
@pytest.mark.parametrize("broken_off", [False, True])
async def test_a_full_disk_costs_the_replay_and_not_the_request(
    monkeypatch: pytest.MonkeyPatch, *, broken_off: bool
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b", buffering=0))
    body = Body(Client(b"abc", b"def"), limits(2, 100))
    if broken_off:
        disk = Held(body, "_spill")
        upload = asyncio.create_task(read(body))
        await disk.entry()
        upload.cancel()
        await asyncio.wait([upload])
        disk.go.set()
        with pytest.raises(BodyNotKept):
            await read(body)
    else:
        assert await read(body) == b"abcdef"
    assert not body.replayable
    await body.aclose()


async def test_no_place_for_a_file_costs_the_replay_and_not_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> IO[bytes]:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    body = Body(Client(b"abc", b"def"), limits(2, 100))
    assert await read(body) == b"abcdef"
    with pytest.raises(BodyNotKept):
        await read(body)
    await body.aclose()


def test_the_settings() -> None:
    settings = LimitSettings.model_validate({"replay_memory": "64KiB", "replay_disk": "1MB", "body": 5})
    assert (settings.replay_memory, settings.replay_disk, settings.body) == (65536, 10**6, 5)
    for wrong in ({"body": -1}, {"replay_memory": "much"}, {"disk": 1}, {"concurrency": -1}):
        with pytest.raises(ValidationError):
            LimitSettings.model_validate(wrong)


@pytest.mark.parametrize(("length", "keepable"), [(0, True), (8, True), (9, False), (None, None)])
def test_its_length_says_whether_it_can_be_kept(length: int | None, keepable: bool | None) -> None:
    body = Body(Client(), limits(4, 4), length)
    assert body.keepable is keepable
