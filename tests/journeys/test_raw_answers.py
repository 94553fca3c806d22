"""Answers as APIs really give them, and as they never should: what reaches the client, byte for byte or not at all."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from tests.journeys.conftest import HEAD, Build
from tests.journeys.wires import OK, Line, Message, Step, answer, chunked, closing, curl, resetting

ONCE = {"attempts": 1}


# -- framed right --------------------------------------------------------------------------------------


async def test_a_head_answer_keeps_its_length_and_has_no_body(build: Build) -> None:
    house = await build(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    client = await house.connect()
    await client.send(HEAD.replace(b"GET", b"HEAD", 1))
    first = await client.answer("HEAD")
    assert (first.status, first.get("Content-Length")) == (200, b"1234")
    await client.send(HEAD)
    assert (await client.answer()).body == b"ok"
    assert [message.connection for message in house.api.messages] == [0, 0]


async def test_a_head_answer_to_what_would_be_chunked_has_no_body(build: Build) -> None:
    house = await build(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    client = await house.connect()
    await client.send(HEAD.replace(b"GET", b"HEAD", 1), HEAD)
    assert (await client.answer("HEAD")).status == 200
    assert (await client.answer()).body == b"ok"


@pytest.mark.parametrize(
    "told",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n",
     b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"a\"\r\n\r\n"],
)  # fmt: skip
async def test_answers_without_a_body_end_with_their_head(build: Build, told: bytes) -> None:
    house = await build(told)
    client = await house.connect()
    await client.send(HEAD, HEAD)
    assert (await client.answer()).raw == told
    assert (await client.answer()).body == b"ok"


@pytest.mark.parametrize(
    "told",
    [b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
     b"HTTP/1.1 304 Not Modified\r\n\r\nhello",
     b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
)  # fmt: skip
async def test_a_body_where_none_belongs_reaches_nobody(build: Build, told: bytes) -> None:
    house = await build(told)
    client = await house.connect()
    await client.send(HEAD)
    first = await client.answer()
    assert first.status in (204, 304)
    await client.send(HEAD)
    second = await client.answer()
    assert (second.status, second.body) == (200, b"ok")
    assert b"hello" not in client.received


async def test_bytes_behind_a_complete_answer_never_reach_the_next_client(build: Build) -> None:
    house = await build(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert (await house.ask()).body == b"ok"
    for _ in range(3):
        second = await house.ask()
        assert (second.status, second.body) == (200, b"ok")
    assert house.api.messages[1].connection == 1


async def test_bytes_behind_a_head_answer_never_reach_the_next_client(build: Build) -> None:
    house = await build(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert (await house.ask(HEAD.replace(b"GET", b"HEAD", 1), "HEAD")).status == 200
    assert (await house.ask()).body == b"ok"


async def test_interim_answers_come_before_the_final_one(build: Build) -> None:
    house = await build(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + OK)
    seen = await house.ask()
    assert (seen.status, seen.body) == (200, b"ok")


async def test_chunks_come_as_chunks_and_their_trailers_stay_behind_or_go_on(build: Build) -> None:
    body = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: a\r\n\r\n"
    house = await build(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n" + body)
    client = await house.connect()
    await client.send(HEAD)
    seen = await client.answer()
    assert (seen.body, seen.all("Transfer-Encoding")) == (b"hello!", [b"chunked"])
    await client.send(HEAD)
    assert (await client.answer()).body == b"ok"


async def test_what_ends_with_the_connection_comes_in_chunks(build: Build) -> None:
    house = await build(closing(b"HTTP/1.1 200 OK\r\n\r\nhello"))
    client = await house.connect()
    await client.send(HEAD)
    seen = await client.answer()
    assert (seen.body, seen.get("Transfer-Encoding")) == (b"hello", b"chunked")
    await client.send(HEAD)
    assert (await client.answer()).body == b"ok"


async def test_for_http_1_0_what_has_no_length_ends_with_the_connection(build: Build) -> None:
    house = await build(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hel", b"lo"))
    client = await house.connect()
    await client.send(b"GET /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
    seen = await client.answer()
    assert (seen.body, seen.get("Transfer-Encoding"), seen.get("Connection")) == (b"hello", None, b"close")


async def test_an_answer_in_http_1_0_is_an_answer(build: Build) -> None:
    house = await build(
        closing(b"HTTP/1.0 200 OK\r\n\r\nhello"), closing(b"HTTP/1.0 404 Nope\r\nContent-Length: 2\r\n\r\nno")
    )
    assert (await house.ask()).body == b"hello"
    second = await house.ask()
    assert (second.start, second.body) == (b"HTTP/1.1 404 Nope", b"no")


async def test_fields_survive_twice_and_in_any_bytes(build: Build) -> None:
    fields = (
        b"X-A: one\r\nx-a: two\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-B: \xe4\xff\r\nX-C: \xc3\xa4\r\nX-A: one\r\n"
        b"Server: theirs\r\nDate: yesterday\r\nX-Empty:\r\n"
    )
    house = await build(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    seen = await house.ask()
    assert seen.fields == [
        (b"X-A", b"one"), (b"x-a", b"two"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"X-B", b"\xe4\xff"),
        (b"X-C", b"\xc3\xa4"), (b"X-A", b"one"), (b"Server", b"theirs"), (b"Date", b"yesterday"), (b"X-Empty", b""),
        (b"Content-Length", b"2"),
    ]  # fmt: skip


async def test_any_reason_and_status_survive(build: Build) -> None:
    house = await build(
        b"HTTP/1.1 299 Very \xc3\x96K\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"
    )
    assert (await house.ask()).start == b"HTTP/1.1 299 Very \xc3\x96K"
    assert (await house.ask()).start.rstrip() == b"HTTP/1.1 599"


async def test_what_belongs_to_one_hop_stays_behind(build: Build) -> None:
    house = await build(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Named\r\nKeep-Alive: timeout=5\r\nX-Named: a\r\nUpgrade: h2c\r\n"
        b"Proxy-Authenticate: Basic\r\nX-Kept: b\r\nContent-Length: 2\r\n\r\nok"
    )
    assert (await house.ask()).fields == [(b"X-Kept", b"b"), (b"Content-Length", b"2")]


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 Fine"])
async def test_a_length_of_thousands_of_digits_is_a_length(build: Build, head: bytes) -> None:
    told = head + b"\r\nContent-Length: " + b"0" * 5000 + b"2\r\n\r\n"

    async def in_two_pieces(_: Message, line: Line) -> None:
        await line.send(told)
        await asyncio.sleep(0.01)
        await line.send(b"ok")

    house = await build(in_two_pieces, told)
    client = await house.connect()
    await client.send(HEAD, HEAD.replace(b"GET", b"HEAD", 1), HEAD)
    assert await client.until(b"\r\n\r\n") == told
    assert await client.exactly(2) == b"ok"
    assert await client.until(b"\r\n\r\n") == told
    assert (await client.answer()).body == b"ok"
    assert [message.connection for message in house.api.messages] == [0, 0, 0]


async def test_an_upstreams_own_words_are_no_error_of_ours(build: Build) -> None:
    told = answer(502, b"theirs", "Content-Type: text/plain", "Proxy-Status: other; error=dns_error")
    house = await build(told, retry=ONCE)
    assert (await house.ask()).body == b"theirs"


# -- never read in two ways ----------------------------------------------------------------------------

AMBIGUOUS = {
    "lengths that differ": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "lengths that differ in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(b"hello"),
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n" + chunked(b"hello"),
    "chunked in two fields": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(b"hello"),
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n" + chunked(b"hello"),
    "an unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nhello",
    "an unasked 101 to websocket": b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "a control character": b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 2\r\n\r\nok",
    "a folded field": b"HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "a field without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok",
    "garbage": b"\x00\x01\x02 what?\r\n\r\n",
    "another protocol": b"220 ftp.example ready\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status beyond all": b"HTTP/1.1 1000 OK\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
}  # fmt: skip

TOLERATED = {
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "spaces around a value": b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \r\n\r\nok",
}


@pytest.mark.parametrize("told", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_answer_that_could_be_read_in_two_ways_ends_its_connection(build: Build, told: bytes) -> None:
    house = await build(told, retry=ONCE)
    seen = await house.ask()
    assert seen.status == 502
    assert seen.error == "http_protocol_error"
    assert b"hello" not in seen.body
    await house.api.lines[0].rest()
    assert (await house.ask()).body == b"ok"
    assert house.api.messages[1].connection == 1


@pytest.mark.parametrize("told", TOLERATED.values(), ids=TOLERATED.keys())
async def test_what_can_be_read_in_one_way_only_is_handed_on_as_everybody_writes_it(build: Build, told: bytes) -> None:
    house = await build(told, retry=ONCE)
    seen = await house.ask()
    assert (seen.status, seen.body, seen.get("Content-Length")) == (200, b"ok", b"2")


@pytest.mark.parametrize("size", [b"zz", b"-5", b"FFFFFFFFFFFFFFFFFFFFFF", b"0x5", b""])
async def test_a_broken_chunk_breaks_the_answer_off(build: Build, size: bytes) -> None:
    go_on = asyncio.Event()

    async def step(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await go_on.wait()
        await line.send(size + b"\r\nworld\r\n0\r\n\r\n")
        await line.rest()

    house = await build(step, retry=ONCE)
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.until(b"hello\r\n")).startswith(b"HTTP/1.1 200")
    go_on.set()
    assert not (await client.rest()).endswith(b"0\r\n\r\n")
    await house.api.came(lambda: house.api.lines[0].ended.is_set())


async def test_a_head_of_an_answer_that_never_ends_is_not_read_to_the_end(build: Build) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\n")
        for _turn in range(4096):
            await line.send(b"X-A: " + b"a" * 1024 + b"\r\n")

    house = await build(step, retry=ONCE)
    seen = await house.ask()
    assert seen.status == 502
    assert seen.problem


# -- cut off -------------------------------------------------------------------------------------------

CUT = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "chunks, between two": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "chunks, within one": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhello",
    "chunks, before the end's end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
}
RESET = {"nothing, and a reset": b"HTTP/1.1 200 OK\r\n\r\nhello"}
ENDINGS = [
    pytest.param(step(told), id=f"{name}, {how}")
    for step, how in ((closing, "closed"), (resetting, "reset"))
    for name, told in (CUT if step is closing else CUT | RESET).items()
]


@pytest.mark.parametrize("step", ENDINGS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_a_cut_answer_never_looks_complete(build: Build, step: Step, version: str) -> None:
    house = await build(step, retry=ONCE)
    client = await house.connect()
    await client.send(f"GET /x HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
    everything = await client.rest()
    assert everything.startswith(b"HTTP/1.1 200")
    assert not everything.endswith(b"0\r\n\r\n")
    if version == "1.0" and b"Content-Length" not in everything:
        assert client.was_reset  # there is no other way to tell


@pytest.mark.parametrize("step", ENDINGS)
@pytest.mark.parametrize("version", ["--http1.1", "--http1.0"])
async def test_curl_sees_that_an_answer_was_cut(build: Build, step: Step, version: str) -> None:
    house = await build(step, retry=ONCE)
    code, _ = await curl(house.proxy.url + "/x", version)
    assert code in (18, 56)  # a partial file, or a failure to receive


async def test_an_answer_that_stalls_is_cut_off_too(build: Build) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        await line.rest()

    house = await build(step, retry=ONCE, timeout={"read": 0.2})
    code, out = await curl(house.proxy.url + "/x")
    assert (code in (18, 56), out) == (True, b"hello")
    await house.api.came(lambda: house.api.lines[0].ended.is_set())


async def test_an_answer_that_takes_longer_than_total_is_cut_off_too(build: Build) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not line.writer.is_closing():
            await line.send(b"1\r\na\r\n")
            await asyncio.sleep(0.02)

    house = await build(step, retry=ONCE, timeout={"total": 0.3})
    code, out = await curl(house.proxy.url + "/x")
    assert code in (18, 56)
    assert out.strip(b"a") == b""


# -- no answer -----------------------------------------------------------------------------------------


async def test_a_name_that_does_not_exist_is_a_502(lead: Build) -> None:
    seen = await (await lead(upstream="https://no-such-name.invalid", retry=ONCE)).ask()
    assert (seen.status, seen.error) == (502, "dns_error")


async def test_an_api_that_says_nothing_is_a_504(build: Build) -> None:
    async def step(_: Message, line: Line) -> None:
        await line.rest()

    house = await build(step, retry=ONCE, timeout={"read": 0.2})
    seen = await house.ask()
    assert (seen.status, seen.error) == (504, "connection_read_timeout")
    await house.api.came(lambda: house.api.lines[0].ended.is_set())


# -- connections that are kept --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_kept_connection_that_the_api_has_closed_is_no_error(build: Build, method: str) -> None:
    house = await build()
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.answer()).status == 200
    house.api.lines[0].close()
    await house.api.lines[0].writer.wait_closed()
    await asyncio.sleep(0.02)  # until the proxy's end has heard of it
    body = "Content-Length: 5\r\n\r\nhello" if method == "POST" else "\r\n"
    await client.send(f"{method} /y HTTP/1.1\r\nHost: localhost\r\n{body}".encode())
    seen = await client.answer()
    assert (seen.status, seen.get("Proxy-Status")) == (200, None)
    assert [message.target for message in house.api.messages] == [b"/x", b"/y"]
    assert house.api.messages[1].body == (b"hello" if method == "POST" else b"")


async def test_a_get_that_finds_its_kept_connection_closing_is_sent_anew(build: Build) -> None:
    house = await build(OK, closing())  # the second request arrives, and is answered by the end
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.answer()).status == 200
    await client.send(HEAD)
    seen = await client.answer()
    assert (seen.status, seen.get("Proxy-Status")) == (200, None)
    assert [message.connection for message in house.api.messages] == [0, 0, 1]


async def test_a_post_that_finds_its_kept_connection_closing_is_not_sent_twice(build: Build) -> None:
    house = await build(OK, closing())
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.answer()).status == 200
    await client.send(b"POST /y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
    seen = await client.answer()
    assert (seen.status, seen.error) == (502, "connection_terminated")
    assert [message.method for message in house.api.messages] == [b"GET", b"POST"]


async def test_a_connection_that_the_api_says_it_closes_is_not_used_again(build: Build) -> None:
    house = await build(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    assert [(await house.ask()).body for _ in range(2)] == [b"ok", b"ok"]
    assert [message.connection for message in house.api.messages] == [0, 1]


async def test_one_connection_serves_many_clients(build: Build) -> None:
    house = await build()
    for _ in range(5):
        assert (await house.ask()).status == 200
    assert {message.connection for message in house.api.messages} == {0}


# -- TLS -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def tls_api(certificate: trustme.LeafCert) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A TLS server that notes what it hears and says ok; yields its port and what it heard."""
    heard: list[bytes] = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # handshakes that failed
    try:
        yield server.sockets[0].getsockname()[1], heard
    finally:
        server.close()
        await asyncio.sleep(0)


async def over_tls(lead: Build, port: int, ca: Path | None, **route: object) -> Message:
    tls = {} if ca is None else {"ca": str(ca)}
    house = await lead(**{"upstream": f"https://localhost:{port}", "tls": tls, "retry": ONCE, **route})
    return await house.ask()


@pytest.fixture
def ca(tmp_path: Path) -> tuple[trustme.CA, Path]:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made, tmp_path / "ca.pem"


async def test_a_certificate_that_is_right_is_trusted(lead: Build, ca: tuple[trustme.CA, Path]) -> None:
    async with tls_api(ca[0].issue_cert("localhost")) as (port, heard):
        seen = await over_tls(lead, port, ca[1])
    assert (seen.status, seen.body) == (200, b"ok")
    assert f"\r\nHost: localhost:{port}\r\n".encode() in heard[0]


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(lead: Build, ca: tuple[trustme.CA, Path]) -> None:
    async with tls_api(trustme.CA().issue_cert("localhost")) as (port, heard):
        seen = await over_tls(lead, port, ca[1])
        without = await over_tls(lead, port, None)
    assert (seen.status, seen.error, heard) == (502, "tls_certificate_error", [])
    assert (without.status, without.error) == (502, "tls_certificate_error")


async def test_verification_may_be_switched_off_loudly(lead: Build) -> None:
    async with tls_api(trustme.CA().issue_cert("other.example")) as (port, _):
        seen = await over_tls(lead, port, None, tls={"verify": False}, insecure=True)
    assert seen.status == 200
