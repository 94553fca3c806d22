"""Bodies on their way: as they come, as fast as the slower side likes, and for as long as both sides are there."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from base64 import b64encode
from collections.abc import Callable

import pytest

from tests.journeys.conftest import HEAD, TOKEN, Build, House
from tests.journeys.test_renewal import REFUSED, Accounts, Renewing, accounts, renewing
from tests.journeys.wires import OK, PATIENCE, Line, Message, answer, chunked, early, slices

__all__ = ["accounts", "renewing"]  # fixtures

PIECE = bytes(range(256)) * 256  # 64 KiB
PIECES = 1024  # of them are 64 MiB
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def whole(pieces: int = PIECES) -> bytes:
    digest = hashlib.sha256()
    for _ in range(pieces):
        digest.update(PIECE)
    return digest.digest()


def post(length: int | None, *lines: str) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return "\r\n".join(["POST /x HTTP/1.1", "Host: localhost", framing, *lines]).encode() + b"\r\n\r\n"


# -- as they come --------------------------------------------------------------------------------------


async def test_events_come_one_by_one_and_the_head_before_the_first(build: Build) -> None:
    next_one = asyncio.Queue[bytes]()

    async def step(_: Message, line: Line) -> None:
        await line.send(EVENTS)
        while event := await next_one.get():
            await line.send(b"%x\r\n%b\r\n" % (len(event), event))
        await line.send(b"0\r\n\r\n")

    house = await build(step)
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    for number in range(5):
        event = b"id: %d\ndata: x\n\n" % number
        next_one.put_nowait(event)
        assert await client.until(b"\n\n\r\n") == b"%x\r\n%b\r\n" % (len(event), event)
    next_one.put_nowait(b"")
    assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_an_upload_arrives_piece_by_piece(build: Build) -> None:
    arrived = asyncio.Queue[bytes]()

    @early
    async def step(_: Message, line: Line) -> None:
        for _turn in range(3):
            arrived.put_nowait(await line.until(b"!\r\n"))
        await line.until(b"0\r\n\r\n")
        await line.send(OK)

    house = await build(step)
    client = await house.connect()
    await client.send(post(None))
    for piece in (b"one!", b"two!", b"three!"):
        await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        async with asyncio.timeout(PATIENCE):
            assert (await arrived.get()).endswith(piece + b"\r\n")
    await client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_an_answer_may_begin_before_the_upload_has_ended(build: Build) -> None:
    @early
    async def echo(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _turn in range(3):
            await line.send(b"4\r\n" + await line.exactly(4) + b"\r\n")
        await line.send(b"0\r\n\r\n")

    house = await build(echo)
    client = await house.connect()
    await client.send(post(12))
    await client.until(b"\r\n\r\n")
    for piece in (b"one.", b"two.", b"end."):
        await client.send(piece)
        assert await client.until(b".\r\n") == b"4\r\n" + piece + b"\r\n"
    assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"
    await client.send(HEAD)
    assert (await client.answer()).status == 200


# -- large ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
async def test_64_mib_come_down_unharmed(build: Build, *, in_chunks: bool) -> None:
    async def step(_: Message, line: Line) -> None:
        framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % (PIECES * len(PIECE))
        await line.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if in_chunks else PIECE
        for _turn in range(PIECES):
            await line.send(piece)
        if in_chunks:
            await line.send(b"0\r\n\r\n")

    house = await build(step)
    client = await house.connect()
    await client.send(HEAD)
    await client.until(b"\r\n\r\n")
    client.forget()
    digest = hashlib.sha256()
    left = PIECES * len(PIECE)
    while left:
        if in_chunks:
            size = int((await client.until(b"\r\n")).strip(), 16)
            piece = await client.exactly(size)
            assert await client.exactly(2) == b"\r\n"
        else:
            piece = await client.piece()
        digest.update(piece)
        left -= len(piece)
        client.forget()
    assert digest.digest() == whole()


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
async def test_64_mib_go_up_unharmed(build: Build, *, in_chunks: bool) -> None:
    digest = hashlib.sha256()

    @early
    async def step(message: Message, line: Line) -> None:
        assert (message.get("Transfer-Encoding") == b"chunked") == in_chunks
        left = PIECES * len(PIECE)
        while left:
            if in_chunks:
                piece = await line.exactly(int((await line.until(b"\r\n")).strip(), 16))
                assert await line.exactly(2) == b"\r\n"
            else:
                piece = await line.piece()
            digest.update(piece)
            left -= len(piece)
            line.forget()
        if in_chunks:
            await line.until(b"0\r\n\r\n")
        await line.send(OK)

    house = await build(step, limits={"replay_memory": "1MiB", "replay_disk": "8MiB"})
    client = await house.connect()
    await client.send(post(None if in_chunks else PIECES * len(PIECE)))
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if in_chunks else PIECE
    for _ in range(PIECES):
        await client.send(piece)
    if in_chunks:
        await client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200
    assert digest.digest() == whole()


async def test_a_body_that_comes_right_behind_its_head_is_no_head(house: House) -> None:
    for size in (40_000, 400_000, 4_000_000):
        client = await house.connect()
        client.writer.write(post(size))
        client.writer.write(bytes(size))
        assert (await client.answer()).status == 200
        assert len(house.api.messages[-1].body) == size


async def test_a_pipelined_upload_is_no_head_either(house: House) -> None:
    client = await house.connect()
    await client.send(HEAD + post(400_000), bytes(400_000))
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]


async def test_a_body_that_nobody_wanted_is_skipped_and_the_connection_goes_on(build: Build) -> None:
    house = await build(deny=["POST **"])
    client = await house.connect()
    await client.send(post(200_000))
    denied = await client.answer()
    assert (denied.status, denied.error) == (403, "http_request_denied")
    for piece in slices(bytes(200_000), 10_000):
        await client.send(piece)
        await asyncio.sleep(0)
    await client.send(HEAD)
    assert (await client.answer()).status == 200
    assert [message.method for message in house.api.messages] == [b"GET"]


async def test_a_client_that_keeps_the_rest_of_its_body_to_itself_is_forgotten_quietly(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    house = await build(deny=["POST **"])
    for _ in range(3):
        client = await house.connect()
        await client.send(post(200_000), bytes(20_000))
        assert (await client.answer()).status == 403
        client.close()
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 0)
    assert caplog.records == []


async def test_packed_bodies_stay_packed_both_ways(build: Build) -> None:
    packed = gzip.compress(PIECE)
    house = await build(answer(200, packed, "Content-Encoding: gzip"))
    seen = await house.ask(post(len(packed), "Content-Encoding: gzip", "Accept-Encoding: gzip") + packed, "POST")
    assert (seen.body, seen.get("Content-Encoding")) == (packed, b"gzip")
    (message,) = house.api.messages
    assert (message.body, message.get("Content-Encoding")) == (packed, b"gzip")
    assert message.get("Accept-Encoding") == b"gzip"


async def test_a_body_that_is_not_packed_as_it_says_is_nobodys_business(house: House) -> None:
    seen = await house.ask(post(5, "Content-Encoding: gzip") + b"hello", "POST")
    assert seen.status == 200
    assert house.api.messages[0].body == b"hello"


# -- as fast as the slower side ------------------------------------------------------------------------


async def test_a_slow_reader_slows_the_api_down(build: Build) -> None:
    sent = 0

    async def step(_: Message, line: Line) -> None:
        nonlocal sent
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _turn in range(PIECES):
            line.writer.write(PIECE)
            await line.writer.drain()
            sent += len(PIECE)

    house = await build(step)
    client = await house.connect()
    await client.send(HEAD)
    await client.until(b"\r\n\r\n")
    assert await stands_still(lambda: sent) < 40 << 20
    left = PIECES * len(PIECE)
    while left:
        left -= len(await client.piece())
        client.forget()
    assert sent == PIECES * len(PIECE)


async def test_a_slow_api_slows_an_upload_down(build: Build) -> None:
    go_on = asyncio.Event()
    sent = 0

    @early
    async def step(_: Message, line: Line) -> None:
        await go_on.wait()
        left = PIECES * len(PIECE)
        while left:
            left -= len(await line.piece())
            line.forget()
        await line.send(OK)

    house = await build(step, limits={"replay_memory": 0, "replay_disk": 0})
    client = await house.connect()

    async def upload() -> None:
        nonlocal sent
        await client.send(post(PIECES * len(PIECE)))
        for _ in range(PIECES):
            client.writer.write(PIECE)
            await client.writer.drain()
            sent += len(PIECE)

    uploading = asyncio.create_task(upload())
    assert await stands_still(lambda: sent) < 40 << 20
    go_on.set()
    await uploading
    assert (await client.answer()).status == 200


async def stands_still(count: Callable[[], int]) -> int:
    """Wait until a number has not changed for a while; return it."""
    before = -1
    async with asyncio.timeout(PATIENCE):
        while before != count() or not before:
            before = count()
            await asyncio.sleep(0.15)
    return before


# -- as long as both sides are there --------------------------------------------------------------------


@pytest.mark.parametrize(
    "said", [b"", EVENTS, EVENTS + b"5\r\nhello\r\n"], ids=["before the head", "behind it", "within"]
)
async def test_a_client_that_leaves_ends_the_request_upstream(build: Build, said: bytes) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.send(said)
        await line.rest()

    house = await build(step)
    client = await house.connect()
    await client.send(HEAD)
    await house.api.came(lambda: house.api.messages)
    if said:
        await client.until(said[-5:])
    client.close()
    async with asyncio.timeout(1):
        await house.api.lines[0].ended.wait()


async def test_a_client_that_leaves_its_upload_ends_it_upstream(build: Build) -> None:
    @early
    async def step(_: Message, line: Line) -> None:
        await line.rest()

    house = await build(step)
    client = await house.connect()
    await client.send(post(None), b"5\r\nhello\r\n")
    await house.api.came(lambda: b"hello" in house.api.heard)
    client.reset()
    async with asyncio.timeout(1):
        await house.api.lines[0].ended.wait()
    assert not house.api.heard.endswith(b"0\r\n\r\n")


async def test_a_place_is_free_when_its_answer_is_through(build: Build) -> None:
    first_may_end = asyncio.Event()

    async def step(_: Message, line: Line) -> None:
        await line.send(EVENTS)
        await first_may_end.wait()
        await line.send(b"0\r\n\r\n")

    house = await build(step, limits={"concurrency": 1})
    first = await house.connect()
    await first.send(HEAD)
    await first.until(b"\r\n\r\n")
    second = asyncio.create_task(house.ask())
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 2)
    await asyncio.sleep(0.05)
    assert len(house.api.messages) == 1
    first_may_end.set()
    assert (await second).status == 200
    assert len(house.api.messages) == 2


# -- connections of clients ----------------------------------------------------------------------------


async def test_two_requests_in_one_go_are_answered_in_their_order(build: Build) -> None:
    async def slow(_: Message, line: Line) -> None:
        await asyncio.sleep(0.05)
        await line.send(answer(200, b"first"))

    house = await build(slow, answer(200, b"second"))
    client = await house.connect()
    await client.send(HEAD.replace(b"/x", b"/1") + HEAD.replace(b"/x", b"/2"))
    assert [(await client.answer()).body for _ in range(2)] == [b"first", b"second"]
    assert [message.target for message in house.api.messages] == [b"/1", b"/2"]


async def test_100_requests_in_one_go_are_answered(house: House) -> None:
    client = await house.connect()
    await client.send(b"".join(HEAD.replace(b"/x", b"/%d" % number) for number in range(100)))
    for _ in range(100):
        assert (await client.answer()).status == 200
    assert [message.target for message in house.api.messages] == [b"/%d" % number for number in range(100)]


async def test_http_1_0_ends_with_the_answer_unless_it_asks(house: House) -> None:
    once = await house.connect()
    await once.send(b"GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n")
    seen = await once.answer()
    assert (seen.status, seen.body, seen.get("Connection")) == (200, b"ok", b"close")
    assert await once.rest() == b""
    kept = await house.connect()
    for _ in range(2):
        await kept.send(b"GET /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        seen = await kept.answer()
        assert (seen.status, seen.get("Connection")) == (200, b"keep-alive")
    assert all(message.start.endswith(b"HTTP/1.1") for message in house.api.messages)


async def test_who_asks_for_the_end_gets_it(house: House) -> None:
    client = await house.connect()
    await client.send(HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await client.answer()).get("Connection") == b"close"
    assert await client.rest() == b""
    assert house.api.messages[0].get("Connection") is None


# -- WebSocket -----------------------------------------------------------------------------------------

HANDSHAKE = (
    b"GET /chat?room=%2F HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
FRAME = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"  # "Hello", masked (RFC 6455, section 5.7)


async def echo(_: Message, line: Line) -> None:
    """A step that switches and sends everything back until the other side ends."""
    await line.send(SWITCHED)
    while data := await line.piece():
        await line.send(data)


async def test_a_websocket_passes_bytes_both_ways_as_they_are(build: Build) -> None:
    house = await build(echo)
    client = await house.connect()
    await client.send(HANDSHAKE)
    switched = await client.answer()
    assert (switched.status, switched.get("Upgrade")) == (101, b"websocket")
    assert switched.get("Sec-WebSocket-Accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert switched.get("Sec-WebSocket-Protocol") == b"chat"
    for frame in (FRAME, b"\x89\x00", b"\x00\xff" * 1000):
        await client.send(frame)
        assert await client.exactly(len(frame)) == frame
    (seen,) = house.api.messages
    assert (seen.target, seen.get("Authorization")) == (b"/chat?room=%2F", f"Bearer {TOKEN}".encode())
    assert seen.get("Upgrade") == b"websocket"
    assert (seen.get("Connection") or b"").lower() == b"upgrade"
    assert seen.get("Sec-WebSocket-Extensions") == b"permessage-deflate"
    client.close()
    async with asyncio.timeout(1):
        await house.api.lines[0].ended.wait()


async def test_a_websocket_ends_when_the_api_ends_it(build: Build) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.send(SWITCHED + b"\x81\x05Hello", b"\x88\x02\x03\xe8")
        line.close()

    house = await build(step)
    client = await house.connect()
    await client.send(HANDSHAKE)
    assert (await client.answer()).status == 101
    assert await client.rest() == b"\x81\x05Hello\x88\x02\x03\xe8"


async def test_a_websocket_carries_much_both_ways_at_once(build: Build) -> None:
    house = await build(echo)
    client = await house.connect()
    await client.send(HANDSHAKE)
    assert (await client.answer()).status == 101
    client.forget()

    async def upload() -> None:
        for _ in range(128):
            await client.send(PIECE)

    uploading = asyncio.create_task(upload())
    digest = hashlib.sha256()
    left = 128 * len(PIECE)
    while left:
        piece = await client.piece()
        digest.update(piece)
        left -= len(piece)
        client.forget()
    await uploading
    assert digest.digest() == whole(128)


async def test_a_websocket_that_is_refused_is_answered_as_the_api_did(build: Build) -> None:
    house = await build(answer(404, b"no chat here"))
    client = await house.connect()
    await client.send(HANDSHAKE)
    seen = await client.answer()
    assert (seen.status, seen.body) == (404, b"no chat here")
    await client.send(HEAD)
    assert (await client.answer()).status == 200


async def test_a_websocket_whose_token_died_is_renewed(renewing: Renewing, accounts: Accounts) -> None:
    house = await renewing(REFUSED, echo)
    client = await house.connect()
    await client.send(HANDSHAKE)
    switched = await client.answer()
    assert switched.status == 101
    await client.send(FRAME)
    assert await client.exactly(len(FRAME)) == FRAME
    assert [message.get("Authorization") for message in house.api.messages] == [b"Bearer token-1", b"Bearer token-2"]
    assert all(message.get("Upgrade") == b"websocket" for message in house.api.messages)
    assert len(accounts.issuer.messages) == 2


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"Origin: http://evil.example", 403), (b"Sec-Fetch-Site: cross-site", 403), (b"X-A: b", 407)],
)
async def test_a_websocket_goes_through_the_same_guard(build: Build, line: bytes, status: int) -> None:
    house = await build(echo, server={"client_token": "let-me-in"})
    client = await house.connect()
    await client.send(HANDSHAKE.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n"))
    seen = await client.answer()
    assert (seen.status, seen.error) == (status, "http_request_denied")
    assert house.api.heard == b""
    token = b"Proxy-Authorization: Basic " + b64encode(b":let-me-in")
    allowed = await house.connect()
    await allowed.send(HANDSHAKE.replace(b"\r\n\r\n", b"\r\n" + token + b"\r\n\r\n"))
    assert (await allowed.answer()).status == 101


async def test_a_post_is_no_websocket(house: House) -> None:
    request = HANDSHAKE.replace(b"GET", b"POST", 1).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello")
    seen = await house.ask(request, "POST")
    assert seen.status == 200
    assert house.api.messages[0].get("Upgrade") is None
    assert house.api.messages[0].body == b"hello"


async def test_what_is_chunked_for_a_client_is_chunked_anew(build: Build) -> None:
    house = await build(EVENTS + chunked(b"a", b"bc", b"d" * 1000))
    assert (await house.ask()).body == b"abc" + b"d" * 1000
