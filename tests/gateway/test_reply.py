"""An answer as bytes, and its way to the client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.errors import BodyTooLarge, MalformedRequest, ReadTimeout, ResponseIncomplete
from proxy.gateway import Answer, Story
from proxy.gateway.reply import Framing, begin, framing, go_on, head_bytes
from tests.doubles import Pieces, settle


class Client:
    """A wire that keeps what it was sent."""

    def __init__(self, gone: bool = False) -> None:
        self.writes: list[bytes] = []
        self.aborted = False
        self.gone = gone
        self.drained = 0
        self.reads = asyncio.Event()
        self.reads.set()

    def write(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionResetError
        self.writes.append(data)

    async def drain(self) -> None:
        self.drained += 1
        await self.reads.wait()

    def abort(self) -> None:
        self.aborted = True

    async def read(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)


class Broken(httpx.AsyncByteStream):
    """A body that comes to a bad end."""

    def __init__(self, end: BaseException, *pieces: bytes) -> None:
        self._end = end
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        raise self._end


class Ready(Pieces):
    """A body of which a part has arrived already."""

    def __init__(self, arrived: bytes, *later: bytes) -> None:
        super().__init__(*later)
        self._arrived = (arrived, not later)

    def ready(self) -> tuple[bytes, bool]:
        return self._arrived


class Silent(httpx.AsyncByteStream):
    """A body that does not go on."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()


class Tunnel:
    """An upstream's side after a 101."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.closed = False

    async def read(self, max_bytes: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        raise AssertionError(data)

    async def aclose(self) -> None:
        self.closed = True


STREAM = Pieces()
LENGTH = [(b"content-length", b"3")]
Version = tuple[int, int]


def story() -> Story:
    return Story("GET", "/", 0.0)


# -- framing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "method", "version", "wanted"),
    [
        (Answer(200, [], b"abc"), "GET", (1, 1), Framing(True, False, True)),
        (Answer(200, [], b"abc"), "GET", (1, 0), Framing(True, False, True)),
        (Answer(200, LENGTH, STREAM, has_length=True), "GET", (1, 1), Framing(True, False, True)),
        (Answer(200, LENGTH, STREAM, has_length=True), "GET", (1, 0), Framing(True, False, True)),
        (Answer(200, [], STREAM), "GET", (1, 1), Framing(True, True, True)),
        (Answer(200, [], STREAM), "GET", (1, 0), Framing(True, False, False)),
        (Answer(200, [], STREAM), "HEAD", (1, 1), Framing(False, False, True)),
        (Answer(200, LENGTH, STREAM, has_length=True), "HEAD", (1, 0), Framing(False, False, True)),
        (Answer(204, [], STREAM), "GET", (1, 1), Framing(False, False, True)),
        (Answer(204, LENGTH, STREAM, has_length=True), "GET", (1, 1), Framing(False, False, True)),
        (Answer(304, LENGTH, STREAM, has_length=True), "GET", (1, 1), Framing(False, False, True)),
        (Answer(204, [], b""), "GET", (1, 1), Framing(False, False, True)),
        (Answer(400, [], b"x", close=True), "GET", (1, 1), Framing(True, False, False)),
        (Answer(200, [], STREAM, close=True), "GET", (1, 1), Framing(True, True, False)),
        (Answer(101, [], STREAM, duplex=Tunnel()), "GET", (1, 1), Framing(False, False, False)),
    ],
)
def test_how_an_answers_end_is_told(answer: Answer, method: str, version: Version, wanted: Framing) -> None:
    assert framing(answer, method, version, keep_alive=True) == wanted
    asked_to_close = framing(answer, method, version, keep_alive=False)
    assert (asked_to_close.has_body, asked_to_close.chunked) == (wanted.has_body, wanted.chunked)
    assert not asked_to_close.keep_alive


# -- the head --------------------------------------------------------------------------------------------


def head(answer: Answer, method: str = "GET", version: Version = (1, 1), *, keep_alive: bool = True) -> bytes:
    return head_bytes(answer, framing(answer, method, version, keep_alive=keep_alive), version)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (Answer(200, [], b""), b"HTTP/1.1 200 OK"),
        (Answer(200, [], b"", b"OK"), b"HTTP/1.1 200 OK"),
        (Answer(200, [], b"", b"Fine \xfc"), b"HTTP/1.1 200 Fine \xfc"),
        (Answer(404, [], b"", b"not found"), b"HTTP/1.1 404 not found"),
        (Answer(299, [], b""), b"HTTP/1.1 299 "),
        (Answer(299, [], b"", b"Odd"), b"HTTP/1.1 299 Odd"),
        (Answer(999, [], b""), b"HTTP/1.1 999 "),
    ],
)
def test_the_status_line(answer: Answer, line: bytes) -> None:
    assert head(answer).split(b"\r\n")[0] == line


def test_fields_are_written_as_they_are() -> None:
    fields = [(b"x-A", b"\xff"), (b"x-a", b""), (b"B", b"1"), (b"x-A", b"2")]
    assert head(Answer(200, fields, b"abc")) == (
        b"HTTP/1.1 200 OK\r\nx-A: \xff\r\nx-a: \r\nB: 1\r\nx-A: 2\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "method", "version", "keep_alive", "framed"),
    [
        (Answer(200, [], b""), "GET", (1, 1), True, [b"Content-Length: 0"]),
        (Answer(200, [], b"abc"), "HEAD", (1, 1), True, [b"Content-Length: 3"]),
        (Answer(200, [], b"abc"), "GET", (1, 0), True, [b"Content-Length: 3", b"Connection: keep-alive"]),
        (Answer(200, [], b"abc"), "GET", (1, 1), False, [b"Content-Length: 3", b"Connection: close"]),
        (Answer(200, LENGTH, b"abc", has_length=True), "GET", (1, 1), True, [b"content-length: 3"]),
        (Answer(200, LENGTH, STREAM, has_length=True), "GET", (1, 1), True, [b"content-length: 3"]),
        (Answer(200, [], STREAM), "GET", (1, 1), True, [b"Transfer-Encoding: chunked"]),
        (Answer(200, [], STREAM), "GET", (1, 0), True, [b"Connection: close"]),
        (Answer(200, [], STREAM), "HEAD", (1, 1), True, []),
        (Answer(204, [], b""), "GET", (1, 1), True, []),
        (Answer(204, LENGTH, STREAM, has_length=True), "GET", (1, 1), True, []),
        (Answer(204, [(b"Content-Length", b"0")], b""), "GET", (1, 1), True, []),
        (Answer(304, LENGTH, STREAM, has_length=True), "GET", (1, 1), True, [b"content-length: 3"]),
        (Answer(304, [], b""), "GET", (1, 1), True, []),
        (
            Answer(101, [], STREAM, duplex=Tunnel()),
            "GET",
            (1, 1),
            True,
            [b"Connection: Upgrade", b"Upgrade: websocket"],
        ),
    ],
)
def test_the_framings_fields(
    answer: Answer, method: str, version: Version, framed: list[bytes], *, keep_alive: bool
) -> None:
    assert head(answer, method, version, keep_alive=keep_alive).split(b"\r\n")[1:-2] == framed


# -- the way ---------------------------------------------------------------------------------------------


async def sent(
    answer: Answer, client: Client, told: Story | None = None, method: str = "GET", version: Version = (1, 1)
) -> bytes:
    framed = framing(answer, method, version, keep_alive=True)
    told = told or story()
    told.complete = begin(client, answer, framed, b"HEAD.", told)
    if not told.complete:
        await go_on(client, answer, framed, told)
        told.complete = True
    return client.sent


@pytest.mark.parametrize(
    ("answer", "method", "version", "wanted", "returned"),
    [
        (Answer(200, [], b"abc"), "GET", (1, 1), b"HEAD.abc", 3),
        (Answer(200, [], b"abc"), "HEAD", (1, 1), b"HEAD.", 0),
        (Answer(200, LENGTH, Pieces(b"a", b"", b"bc"), has_length=True), "GET", (1, 1), b"HEAD.abc", 3),
        (Answer(200, [], Pieces(b"a", b"", b"bc")), "GET", (1, 1), b"HEAD.1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 3),
        (Answer(200, [], Pieces(b"x" * 17)), "GET", (1, 1), b"HEAD.11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n", 17),
        (Answer(200, [], Pieces(b"a", b"bc")), "GET", (1, 0), b"HEAD.abc", 3),
        (Answer(200, [], Pieces()), "GET", (1, 1), b"HEAD.0\r\n\r\n", 0),
        (Answer(204, [], Pieces(b"never")), "GET", (1, 1), b"HEAD.", 0),
        (Answer(200, [], Pieces(b"never")), "HEAD", (1, 1), b"HEAD.", 0),
        (Answer(200, [], Ready(b"abc")), "GET", (1, 1), b"HEAD.3\r\nabc\r\n0\r\n\r\n", 3),
        (Answer(200, [], Ready(b"")), "GET", (1, 1), b"HEAD.0\r\n\r\n", 0),
        (Answer(200, LENGTH, Ready(b"abc"), has_length=True), "GET", (1, 1), b"HEAD.abc", 3),
        (Answer(200, LENGTH, Ready(b"a", b"bc"), has_length=True), "GET", (1, 1), b"HEAD.abc", 3),
        (Answer(200, [], Ready(b"a", b"bc")), "GET", (1, 1), b"HEAD.1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 3),
    ],
)
async def test_an_answer_is_written(
    answer: Answer, method: str, version: Version, wanted: bytes, returned: int
) -> None:
    client, told = Client(), story()
    assert await sent(answer, client, told, method, version) == wanted
    assert told.complete
    assert told.returned == returned


async def test_what_has_arrived_leaves_in_one_write_with_the_head() -> None:
    client = Client()
    await sent(Answer(200, [], Ready(b"abc")), client)
    assert len(client.writes) == 1


async def test_the_head_leaves_before_the_first_piece() -> None:
    client = Client()
    task = asyncio.create_task(sent(Answer(200, [], Silent()), client))
    await settle()
    assert client.writes == [b"HEAD.", b"1\r\na\r\n"]
    task.cancel()
    await asyncio.wait([task])


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    client = Client()
    client.reads.clear()
    task = asyncio.create_task(sent(Answer(200, [], Pieces(b"a", b"b")), client))
    await settle()
    assert client.sent == b"HEAD."
    client.reads.set()
    assert (await task).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "end",
    [
        ResponseIncomplete(sent=True, begun=True),
        ReadTimeout(sent=True, begun=True),
        MalformedRequest("the body is malformed"),
        BodyTooLarge(),
    ],
)
@pytest.mark.parametrize("answer", [Answer(200, []), Answer(200, LENGTH)])
async def test_a_cut_answer_never_looks_complete(end: ResponseIncomplete, answer: Answer) -> None:
    client, told = Client(), story()
    answer.body = Broken(end, b"a")
    with pytest.raises(ConnectionAbortedError):
        await sent(answer, client, told)
    assert client.aborted
    assert not client.sent.endswith(b"0\r\n\r\n")
    assert not told.complete
    assert (told.error, told.failure) == (end.error, end.detail)


async def test_a_defect_within_an_answer_does_not_make_it_look_complete_either() -> None:
    client = Client()
    with pytest.raises(ZeroDivisionError):
        await sent(Answer(200, [], Broken(ZeroDivisionError(), b"a")), client, version=(1, 0))
    assert client.aborted


async def test_an_answer_that_is_cancelled_does_not_look_complete() -> None:
    client = Client()
    task = asyncio.create_task(sent(Answer(200, [], Silent()), client, version=(1, 0)))
    await settle()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert client.aborted


async def test_an_answer_must_be_through_before_its_deadline() -> None:
    client, told = Client(), story()
    answer = Answer(200, [], Silent(), deadline=asyncio.get_running_loop().time() + 0.01)
    with pytest.raises(ConnectionAbortedError):
        await sent(answer, client, told)
    assert client.aborted
    assert told.error == "connection_read_timeout"


async def test_a_client_that_has_gone_is_told_to_nobody() -> None:
    told = story()
    with pytest.raises(ConnectionError):
        await sent(Answer(200, [], Pieces(b"a")), Client(gone=True), told)
    assert not told.complete


async def test_after_a_101_bytes_pass() -> None:
    client, told, tunnel = Client(), story(), Tunnel(b"ab", b"c")
    assert await sent(Answer(101, [], Pieces(), duplex=tunnel), client, told) == b"HEAD.abc"
    assert told.returned == 3
    assert tunnel.closed
