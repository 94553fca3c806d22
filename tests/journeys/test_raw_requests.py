"""Requests that no honest client sends, and odd ones that some do: what the client hears, and what the API saw.

The API records bytes. It saw nothing, or exactly one message that can be read in one way only.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from typing import Any

import pytest

from tests.gateway.test_target import DOTS
from tests.journeys.conftest import TOKEN, Build, House
from tests.journeys.wires import Line, Message, chunked, early

ECHO = b"Echo-9a8b"  # is seen by nobody but the log, which tells paths


def post(*lines: str, version: str = "1.1", host: str = "Host: localhost") -> bytes:
    """A POST's head, with a word in it that no answer may repeat."""
    head = [f"POST /{ECHO.decode()} HTTP/{version}", host, f"X-Canary: {ECHO.decode()}", *lines]
    return "\r\n".join(line for line in head if line).encode("latin-1") + b"\r\n\r\n"


def get(target: bytes, host: bytes = b"localhost", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: " + host, *lines]) + b"\r\n\r\n"


FRAMINGS = {
    "Content-Length and then Transfer-Encoding": post("Content-Length: 5", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "Transfer-Encoding and then Content-Length": post("Transfer-Encoding: chunked", "Content-Length: 5")
    + b"0\r\n\r\n",
    "Content-Length twice, the same": post("Content-Length: 5", "Content-Length: 5") + b"hello",
    "Content-Length twice, differing": post("Content-Length: 5", "Content-Length: 6") + b"hello!",
    "Content-Length as a list": post("Content-Length: 5, 5") + b"hello",
    "Content-Length with a sign": post("Content-Length: +5") + b"hello",
    "Content-Length below zero": post("Content-Length: -5") + b"hello",
    "Content-Length in hex": post("Content-Length: 0x5") + b"hello",
    "Content-Length in two words": post("Content-Length: 5 5") + b"hello",
    "Content-Length with an underscore": post("Content-Length: 1_0") + b"hellohello",
    "Content-Length that is empty": post("Content-Length:") + b"hello",
    "Content-Length of thousands of digits": post(f"Content-Length: {'0' * 5000}5") + b"hello",
    "Content-Length beyond all numbers": post("Content-Length: 99999999999999999999999") + b"hello",
    "Content-Length in other digits": post("Content-Length: \xb2") + b"hello",
    "Transfer-Encoding twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "Transfer-Encoding chunked twice": post("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "Transfer-Encoding that does not end with chunked": post("Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n",
    "Transfer-Encoding with another coding first": post("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "Transfer-Encoding unknown": post("Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "Transfer-Encoding identity": post("Transfer-Encoding: identity") + b"0\r\n\r\n",
    "Transfer-Encoding that is empty": post("Transfer-Encoding:") + b"0\r\n\r\n",
    "Transfer-Encoding with a parameter": post("Transfer-Encoding: chunked;a=b") + b"0\r\n\r\n",
    "Transfer-Encoding in quotes": post('Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "Transfer-Encoding with a comma": post("Transfer-Encoding: chunked,") + b"0\r\n\r\n",
    "Transfer-Encoding with a vertical tab": post("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "Transfer-Encoding with a no-break space": post("Transfer-Encoding: \xa0chunked") + b"0\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0": post("Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n",
    "space before the colon": post("Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "space before the colon of Content-Length": post("Content-Length : 5") + b"hello",
    "tab before the colon": post("Content-Length\t: 5") + b"hello",
    "a folded field": post("Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n",
    "a folded ordinary field": post("X-A: b\r\n c", "Content-Length: 0"),
    "a first field that is folded": b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "NUL in a value": post("X-A: a\x00b", "Content-Length: 0"),
    "NUL in a name": post("X-\x00A: b", "Content-Length: 0"),
    "a control character in a value": post("X-A: a\x01b", "Content-Length: 0"),
    "DEL in a value": post("X-A: a\x7fb", "Content-Length: 0"),
    "a bare CR in a value": post("X-A: a\rX-B: c", "Content-Length: 0"),
    "a bare LF between fields": post("X-A: a\nX-B: c", "Content-Length: 0"),
    "bare LF everywhere": b"GET /x HTTP/1.1\nHost: localhost\n\n",
    "a bare LF at the end of the head": b"GET /x HTTP/1.1\r\nHost: localhost\r\n\n",
    "a field without a colon": post("nonsense", "Content-Length: 0"),
    "a field without a name": post(": nonsense", "Content-Length: 0"),
    "a name with a space": post("X A: b", "Content-Length: 0"),
    "a name that is no ASCII": post("X-\xe4: b", "Content-Length: 0"),
    "a name in parentheses": post("X(A): b", "Content-Length: 0"),
}  # fmt: skip

LINES = {
    "HTTP/0.9": b"GET /x\r\n\r\n",
    "HTTP/0.9 in words": b"GET /x HTTP/0.9\r\nHost: localhost\r\n\r\n",
    "HTTP/1.2": b"GET /x HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "HTTP/2.0": b"GET /x HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.10": b"GET /x HTTP/1.10\r\nHost: localhost\r\n\r\n",
    "HTTP/11": b"GET /x HTTP/11\r\nHost: localhost\r\n\r\n",
    "http in small letters": b"GET /x http/1.1\r\nHost: localhost\r\n\r\n",
    "no protocol's name": b"GET /x /1.1\r\nHost: localhost\r\n\r\n",
    "a tab": b"GET\t/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the target": b"GET /x y HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space at the end": b"GET /x HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method with a colon": b"GE:T /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method that is no ASCII": b"G\xc3\x84T /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nothing but noise": b"\x00\x01\x02\x03\r\n\r\n",
    "an SSH client": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a negative minor version": b"GET /x HTTP/1.-1\r\nHost: localhost\r\n\r\n",
    "RTSP": b"GET /x RTSP/1.1\r\nHost: localhost\r\n\r\n",
    "RTSP of AirPlay": b"POST /x RTSP/1.0\r\nHost: localhost\r\n\r\n",
    "a method that only RTSP has": b"PLAY /x RTSP/1.0\r\nHost: localhost\r\n\r\n",
    "RTSP of everything": b"OPTIONS * RTSP/1.0\r\nHost: localhost\r\n\r\n",
    "RTSP after several spaces": b"GET  /x?[(  RTSP/1.1\r\nHost: localhost\r\n\r\n",
    "Icecast": b"SOURCE /x ICE/1.0\r\nHost: localhost\r\n\r\n",
    "Icecast by another method": b"GET /x ICE/1.0\r\nHost: localhost\r\n\r\n",
}

HOSTS = {
    "no Host": b"GET /x HTTP/1.1\r\n\r\n",
    "no Host in HTTP/1.0": b"GET /x HTTP/1.0\r\n\r\n",
    "Host twice": b"GET /x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "Host twice, differing": b"GET /x HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "an empty Host": b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "userinfo in Host": get(b"/x", b"localhost@evil.example"),
    "a path in Host": get(b"/x", b"localhost/evil"),
    "a list in Host": get(b"/x", b"localhost, evil.example"),
    "a query in Host": get(b"/x", b"localhost?a"),
    "a space in Host": get(b"/x", b"local host"),
    "a port that is none": get(b"/x", b"localhost:http"),
    "a port too large": get(b"/x", b"localhost:65536"),
    "two ports": get(b"/x", b"localhost:80:80"),
    "half a bracket": get(b"/x", b"[::1"),
    "a Host of 8-bit bytes": get(b"/x", b"localhost\xc3\xa4"),
    "a percent in Host": get(b"/x", b"localhost%00.evil.example"),
}

MISDIRECTED = [
    b"evil.example", b"evil.example:80", b"localhost.evil.example", b"127.0.0.1.nip.io", b"0.0.0.0", b"[::]",
    b"[::ffff:0.0.0.0]", b"localhost.", b"xn--lclhost.example", b"0x7f000001", b"2130706433", b"0",
]  # fmt: skip

TARGETS = [
    b"/a#b", b"/a\\b", b"/\\..\\b", b"/a\x01b", b"/a\x7fb", b"/a\xc3\xa4b", b"/\xff", b"/a?b#c", b"/a?\xc3\xa4",
    b"/a?b\\c",
    b"/..", b"/.", b"/a/..", b"/a/../b", b"/a/./b", b"/./a", b"/../../etc/passwd", b"/a/..?x=y",
    b"/%2e%2e/a", b"/%2E%2e/a", b"/%2e/a", b"/.%2e/a", b"/%2e./a", b"/a/%2e%2e",
    b"/..%2fa", b"/..%2Fa", b"/a%2f..%2fb", b"/a%2f%2e%2e", b"/..%5ca", b"/a%5c..%5cb",
    b"/..;x/a", b"/..;/a", b"/.;x/a", b"/%2e%2e;x/a", b"/..%3bx/a",
    b"/%252e%252e/a", b"/%25252e%25252e/a", b"/..%252fa", b"/%c0%ae%c0%ae/a", b"/..%c0%afa", b"/..%00/a",
    b"/%2e%2e%00/",
    b"x", b"?x", b"*", b"localhost:80", b"ftp://localhost/x", b"http:/x", b"http:///x", b"http://", b"javascript:x",
]  # fmt: skip

UNTOUCHED = [
    b"/", b"/?", b"/a?", b"/a??b", b"/...", b"/.well-known/x", b"/..a", b"/a..b", b"/a../b", b"/a?../..", b"/a?b=/../c",
    b"/%2F", b"/a%2fb%2Fc", b"/a%20b", b"//double//slash/", b"/a;b=c/d", b"/%zz", b"/%", b"/%e4", b"/%C3%A4", b"/%00",
    b"/a+b", b"/a?b=c&b=c&&", b"/'()*,;=:@!$&", b'/"<>^`{|}', b"/~user", b"/a%3Fb", b"/a%23b", b"/a?%23", b"/%41",
    b"/[a]?b[c]=d", b"/a?b=%5c", b"/a?x=http://evil.example/", b"/http://evil.example/",
]  # fmt: skip


async def refused(house: House, request: bytes, status: int = 400, what: str = "") -> Message:
    """The answer to a request that is not served: it tells nothing, the connection ends, the API saw nothing."""
    client = await house.connect()
    await client.send(request)
    answer = await client.answer()
    assert answer.status == status, (what or request, answer.start, answer.body)
    assert answer.problem
    if status == 400:
        assert answer.error == "http_request_error"
        assert answer.get("Connection") == b"close"
        assert await client.rest() == b""
    assert ECHO not in client.received
    assert house.api.heard == b""
    return answer


async def passed(house: House, request: bytes) -> Message:
    """What the API saw of a request that is served: one message, and nothing else."""
    answer = await house.ask(request)
    assert answer.status == 200, answer.body
    assert len(house.api.messages) == 1
    return house.api.messages[0]


def cases(table: dict[str, bytes]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("request_", table.values(), ids=table.keys())


# -- one reading only ----------------------------------------------------------------------------------


async def test_what_could_be_framed_in_two_ways_is_refused_and_what_comes_behind_it(house: House) -> None:
    for what, request in FRAMINGS.items():
        await refused(house, request + get(b"/smuggled"), what=what)


async def test_a_request_line_that_is_none_is_refused(house: House) -> None:
    for what, request in LINES.items():
        await refused(house, request, what=what)


@pytest.mark.parametrize("at", [5, 10, 12, 18, 30])
async def test_rtsp_in_two_pieces_is_no_http_either(house: House, at: int) -> None:
    request = b"GET /x RTSP/1.0\r\nHost: localhost\r\n\r\n"
    client = await house.connect()
    await client.send(request[:at])
    await asyncio.sleep(0.01)
    await client.send(request[at:])
    assert (await client.answer()).status == 400
    assert await client.rest() == b""
    assert house.api.heard == b""


async def test_who_only_speaks_of_rtsp_is_served(house: House) -> None:
    about = b"GET /y RTSP/1.0\r\n"
    seen = await passed(house, get(b"/x", b"localhost", b"X-A: RTSP/1.0", b"Content-Length: %d" % len(about)) + about)
    assert (seen.target, seen.body) == (b"/x", about)


async def test_several_spaces_leave_as_everybody_writes_it(house: House) -> None:
    assert (await passed(house, b"GET  /x  HTTP/1.1\r\nHost: localhost\r\n\r\n")).start == b"GET /x HTTP/1.1"


async def test_a_bad_request_behind_a_good_one_is_refused_on_its_own(house: House) -> None:
    client = await house.connect()
    await client.send(get(b"/good"))
    assert (await client.answer()).status == 200
    await client.send(post("Content-Length: 5", "Transfer-Encoding: chunked") + get(b"/smuggled"))
    assert (await client.answer()).status == 400
    assert await client.rest() == b""
    assert [message.target for message in house.api.messages] == [b"/good"]


async def test_a_bad_request_right_behind_a_good_one_ends_the_connection(house: House) -> None:
    client = await house.connect()
    await client.send(get(b"/good") + post("Content-Length: 5", "Transfer-Encoding: chunked") + get(b"/smuggled"))
    assert (await client.rest()).rpartition(b"HTTP/1.1 ")[2].startswith(b"400 ")
    assert b"smuggled" not in house.api.heard


@pytest.mark.parametrize(
    "name",
    [
        "Content_Length",
        "Transfer_Encoding",
        "content_length",
        "TRANSFER_encoding",
        "Content.Length",
        "Transfer~Encoding",
    ],
)
async def test_look_alikes_of_framing_fields_are_dropped(house: House, name: str) -> None:
    seen = await passed(house, post(f"{name}: chunked", "Content-Length: 5") + b"hello")
    assert seen.body == b"hello"
    assert name.encode() not in seen.raw


async def test_other_fields_with_underscores_go_on(house: House) -> None:
    seen = await passed(house, get(b"/", b"localhost", b"X_Some_Thing: a"))
    assert seen.get("X_Some_Thing") == b"a"


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
async def test_a_credential_of_the_client_is_replaced(house: House, name: bytes) -> None:
    seen = await passed(house, get(b"/", b"localhost", name + b": Basic abc"))
    assert seen.get("Authorization") == f"Bearer {TOKEN}".encode()


# -- broken bodies -------------------------------------------------------------------------------------

BROKEN = {
    "a size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a size below zero": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "a size behind a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a size beyond all numbers": b"FFFFFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a size that ends with a bare LF": b"5\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"5\r\nhello!\r\n0\r\n\r\n",
    "a chunk that ends with a bare LF": b"5\r\nhello\n0\r\n\r\n",
    "a chunk without an end": b"5\r\nhello0\r\n\r\n",
    "an extension with a bare LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "an extension with a bare CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a NUL in an extension": b"5;\x00\r\nhello\r\n0\r\n\r\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
    "a trailer with a bare LF": b"5\r\nhello\r\n0\r\nA: b\n\r\n",
    "an end with a bare LF": b"5\r\nhello\r\n0\n\n",
}


async def test_a_broken_chunk_never_makes_a_complete_message(house: House) -> None:
    for what, body in BROKEN.items():
        client = await house.connect()
        await client.send(post("Transfer-Encoding: chunked") + body + get(b"/smuggled"))
        answer = await client.answer()
        assert answer.status == 400, what
        assert answer.error == "http_request_error"
        assert await client.rest() == b""
    assert house.api.messages == []
    assert b"smuggled" not in house.api.heard


@cases(BROKEN)
async def test_a_chunk_that_breaks_after_forwarding_began_breaks_the_message_off(build: Build, request_: bytes) -> None:
    ended = asyncio.Event()

    @early
    async def step(_: Message, line: Line) -> None:
        await line.rest()
        ended.set()

    house = await build(step)
    client = await house.connect()
    await client.send(post("Transfer-Encoding: chunked"), b"7\r\nbefore.\r\n")
    await house.api.came(lambda: b"before." in house.api.heard)
    await client.send(request_)
    answer = await client.answer()
    assert answer.status == 400
    assert answer.problem
    assert await client.rest() == b""
    async with asyncio.timeout(5):
        await ended.wait()
    assert not house.api.heard.endswith(b"0\r\n\r\n")


async def test_extensions_and_trailers_of_chunks_stay_behind(house: House) -> None:
    body = b'5;a="b"\r\nhello\r\n0\r\nX-Trailer: a\r\nAuthorization: b\r\n\r\n'
    seen = await passed(house, post("Transfer-Encoding: chunked", "Trailer: X-Trailer") + body)
    assert seen.body == b"hello"
    assert b"X-Trailer" not in house.api.heard


async def test_a_chunked_body_may_come_byte_by_byte(house: House) -> None:
    client = await house.connect()
    for byte in post("Transfer-Encoding: chunked") + chunked(b"hel", b"lo"):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).status == 200
    assert [message.body for message in house.api.messages] == [b"hello"]


async def test_a_client_that_leaves_within_its_body_leaves_no_complete_message(build: Build) -> None:
    ended = asyncio.Event()

    @early
    async def step(_: Message, line: Line) -> None:
        await line.rest()
        ended.set()

    house = await build(step)
    client = await house.connect()
    await client.send(post("Content-Length: 10") + b"hello")
    await house.api.came(lambda: house.api.heard.endswith(b"hello"))
    client.close()
    async with asyncio.timeout(5):
        await ended.wait()
    assert house.api.heard.endswith(b"hello")


# -- Host ----------------------------------------------------------------------------------------------


async def test_a_host_that_is_none_is_refused(house: House) -> None:
    for what, request in HOSTS.items():
        await refused(house, request, what=what)


async def test_a_host_that_is_not_ours_is_misdirected(house: House) -> None:
    for host in MISDIRECTED:
        answer = await refused(house, get(b"/x", host), 421, what=repr(host))
        assert answer.error == "http_request_denied"


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LOCALHOST", b"localhost:1", b"api.localhost", b"127.0.0.1", b"127.0.0.1:8080", b"[::1]",
     b"[::1]:80", b"192.168.1.7", b"countersign", b"my_container", b"allowed.example", b"Allowed.Example:8080"],
)  # fmt: skip
async def test_a_host_of_this_machine_is_served_and_never_sent_on(build: Build, host: bytes) -> None:
    house = await build(server={"allowed_hosts": ["allowed.example"]})
    seen = await passed(house, get(b"/x", host))
    assert seen.all("Host") == [f"127.0.0.1:{house.api.port}".encode()]


# -- targets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["", "/base"])
async def test_a_target_that_could_mean_another_is_refused(build: Build, base: str) -> None:
    house = await build(path=base)
    for target in TARGETS:
        await refused(house, get(target))


async def test_two_hundred_spellings_of_what_leads_out_of_the_base_do_not(build: Build) -> None:
    house = await build(path="/base")
    spellings = [f"/a{slash}{dots}{slash}b" for dots in DOTS for slash in ("/", "%2f", "%5C", "%c0%af")]
    assert len(spellings) > 200
    for target in spellings:
        await refused(house, get(target.encode()))


@pytest.mark.parametrize("base", ["", "/base/%7Ea"])
async def test_a_target_arrives_byte_for_byte(build: Build, base: str) -> None:
    house = await build(path=base)
    for target in UNTOUCHED:
        assert (await house.ask(get(target))).status == 200, target
        assert house.api.messages[-1].target == base.encode() + target
    assert len(house.api.messages) == len(UNTOUCHED)


async def test_a_prefix_stands_for_the_base(build: Build) -> None:
    house = await build(path="/base", prefix="/api")
    assert (await house.ask(get(b"/api/a%2Fb?"))).status == 200
    assert (await house.ask(get(b"/api"))).status == 200
    assert (await house.ask(get(b"/api?a"))).status == 200
    missed = await house.ask(get(b"/apix"))
    assert (missed.status, missed.error) == (404, "destination_not_found")
    encoded = await house.ask(get(b"/%61pi/a"))
    assert encoded.status == 404
    assert [message.target for message in house.api.messages] == [b"/base/a%2Fb?", b"/base", b"/base?a"]


async def test_options_of_everything_goes_on_as_it_is(house: House) -> None:
    seen = await passed(house, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seen.start == b"OPTIONS * HTTP/1.1"


async def test_an_absolute_target_that_names_the_proxy_is_its_path(house: House) -> None:
    host = f"localhost:{house.proxy.port}".encode()
    seen = await passed(house, get(b"http://" + host + b"/a%2Fb?c", host))
    assert seen.target == b"/a%2Fb?c"


async def test_an_absolute_target_without_a_path_is_the_root(house: House) -> None:
    host = f"127.0.0.1:{house.proxy.port}".encode()
    assert (await passed(house, get(b"http://" + host, host))).target == b"/"


async def test_options_of_an_absolute_target_without_a_path_is_that_of_the_server(build: Build) -> None:
    house = await build()
    for host in (f"localhost:{house.proxy.port}".encode(), f"127.0.0.1:{house.api.port}".encode()):
        for path in (b"", b"/", b"?x"):
            request = get(b"http://" + host + path, host).replace(b"GET", b"OPTIONS", 1)
            assert (await house.ask(request)).status == 200
    assert [message.target for message in house.api.messages] == [b"*", b"/", b"/?x"] * 2


async def test_an_absolute_target_may_name_a_routes_upstream(build: Build) -> None:
    house = await build(prefix="/api")
    host = f"127.0.0.1:{house.api.port}".encode()
    seen = await passed(house, get(b"http://" + host + b"/x?y", host))
    assert (seen.target, seen.get("Host")) == (b"/x?y", host)
    assert seen.get("Authorization") == f"Bearer {TOKEN}".encode()


@pytest.mark.parametrize("host", [b"evil.example", b"localhost:1", b"127.0.0.1:2", b"evil.example:80"])
async def test_an_absolute_target_that_names_a_stranger_leads_nowhere(house: House, host: bytes) -> None:
    answer = await refused(house, get(b"http://" + host + b"/x", host), 404)
    assert answer.error == "destination_not_found"


@pytest.mark.parametrize("userinfo", [b"localhost@evil.example", b"a:b@localhost"])
async def test_an_absolute_target_with_userinfo_is_refused(house: House, userinfo: bytes) -> None:
    await refused(house, get(b"http://" + userinfo + b"/x"))


async def test_an_absolute_target_that_differs_from_host_is_refused(house: House) -> None:
    host = f"localhost:{house.proxy.port}".encode()
    await refused(house, get(b"http://" + host + b"/x", b"evil.example"))
    await refused(house, get(b"http://evil.example/x", host))


async def test_dot_segments_do_not_leave_an_upstream_that_is_named_either(build: Build) -> None:
    house = await build(path="/base")
    host = f"127.0.0.1:{house.api.port}".encode()
    await refused(house, get(b"http://" + host + b"/base/../x", host))
    outside = await house.ask(get(b"http://" + host + b"/x", host))
    assert outside.status == 404
    assert house.api.heard == b""


# -- methods and expectations --------------------------------------------------------------------------


@pytest.mark.parametrize("host", [b"localhost", b"evil.example", b"", b"a b"])
@pytest.mark.parametrize(
    "line",
    [b"TRACE /x", b"TRACE *", b"TRACE x", b"TRACE http://localhost/x", b"CONNECT evil.example:443",
     b"CONNECT localhost:80", b"CONNECT http://evil.example/", b"CONNECT /x"],
)  # fmt: skip
async def test_trace_and_connect_are_not_served(house: House, line: bytes, host: bytes) -> None:
    answer = await refused(house, line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 405)
    assert answer.error == "http_request_denied"
    assert b"GET" in (answer.get("Allow") or b"")


async def test_trace_without_a_host_is_not_served_either(house: House) -> None:
    assert (await refused(house, b"TRACE * HTTP/1.0\r\n\r\n", 405)).get("Allow")


async def test_http2_is_told_what_is_served(house: House) -> None:
    answer = await refused(house, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert json.loads(answer.body)["detail"] == "HTTP/2 is not served here; expected HTTP/1.1"


async def test_any_other_method_goes_on(house: House) -> None:
    seen = await passed(house, b"PROPFIND /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert seen.start == b"PROPFIND /x HTTP/1.1"
    assert seen.get("Content-Length") is None
    assert seen.get("Transfer-Encoding") is None


async def test_an_unknown_expectation_is_told_at_once(house: House) -> None:
    answer = await refused(house, post("Expect: the-unexpected", "Content-Length: 5"), 417)
    assert answer.error == "http_request_error"


async def test_continue_is_said_and_the_body_goes_on(house: House) -> None:
    client = await house.connect()
    await client.send(post("Expect: 100-continue", "Content-Length: 5"))
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hello")
    assert (await client.answer()).status == 200
    (seen,) = house.api.messages
    assert seen.body == b"hello"
    assert seen.get("Expect") is None


@pytest.mark.parametrize("expected", ["100-Continue", "100-continue, 100-continue", "100-continue,"])
async def test_continue_is_said_however_it_is_asked_for(house: House, expected: str) -> None:
    client = await house.connect()
    await client.send(post(f"Expect: {expected}", "Content-Length: 5"))
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"hello")
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    ("line", "status"),
    [("Origin: http://evil.example", 403), ("Sec-Fetch-Site: cross-site", 403), ("Transfer-Encoding: gzip", 400)],
)
async def test_continue_is_not_said_before_the_checks(house: House, line: str, status: int) -> None:
    framing = "" if status == 400 else "Content-Length: 5"
    answer = await refused(house, post("Expect: 100-continue", line, framing), status)
    assert answer.interim == []


async def test_continue_is_not_said_for_a_body_that_nobody_wants(build: Build) -> None:
    house = await build(limits={"body": 4})
    client = await house.connect()
    await client.send(post("Expect: 100-continue", "Content-Length: 5"))
    answer = await client.answer()
    assert (answer.status, answer.interim) == (413, [])
    assert answer.error == "http_request_error"
    assert await client.rest() == b""
    assert house.api.heard == b""


async def test_continue_is_not_said_to_http_1_0(house: House) -> None:
    client = await house.connect()
    await client.send(post("Expect: 100-continue", "Content-Length: 5", version="1.0") + b"hello")
    answer = await client.answer()
    assert (answer.status, answer.interim) == (200, [])
    assert house.api.messages[0].body == b"hello"


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"foo, bar"])
async def test_upgrades_to_anything_but_websocket_are_ignored(house: House, protocol: bytes) -> None:
    lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABkAAQ")
    seen = await passed(house, get(b"/x", b"localhost", *lines))
    assert [seen.get(name) for name in ("Upgrade", "HTTP2-Settings")] == [None, None]


WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: a", b"Sec-WebSocket-Version: 13")
H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ")


@pytest.mark.parametrize("lines", [WEBSOCKET, H2C, (b"Connection: upgrade", b"Upgrade: tcp")])
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_an_upgrade_with_a_body_is_an_ordinary_request(
    house: House, lines: tuple[bytes, ...], framing: bytes
) -> None:
    body = chunked(b"hello") if b"chunked" in framing else b"hello"
    seen = await passed(house, get(b"/x", b"localhost", *lines, framing) + body + get(b"/behind"))
    assert (seen.target, seen.body, seen.get("Upgrade")) == (b"/x", b"hello", None)


@pytest.mark.parametrize("cut", [0, 10, 40])
async def test_what_follows_an_upgrade_that_is_ignored_is_the_request_that_was_sent(house: House, cut: int) -> None:
    """The parser would lose the first bytes of what follows."""
    behind = b"POST /a HTTP/1.1\r\nX: " + get(b"/smuggled")
    client = await house.connect()
    await client.send(get(b"/x", b"localhost", *H2C) + behind[:cut])
    await asyncio.sleep(0.01)
    await client.send(behind[cut:])
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert [message.start for message in house.api.messages] == [b"GET /x HTTP/1.1", b"POST /a HTTP/1.1"]


async def test_an_upgrade_that_is_ignored_does_not_cost_the_connection(house: House) -> None:
    client = await house.connect()
    for _ in range(3):
        await client.send(get(b"/x", b"localhost", *H2C))
        assert (await client.answer()).get("Connection") is None


# -- methods -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [b"LIST", b"VERSION-CONTROL", b"BASELINE-CONTROL", b"LABEL", b"ORDERPATCH", b"a!b", b"head", b"SOURCE", b"PLAY"],
)
async def test_any_method_is_forwarded(house: House, method: bytes) -> None:
    head = method + b" /x HTTP/1.1\r\nHost: localhost\r\n"
    with_length, in_chunks = b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hi")
    client = await house.connect()
    await client.send(head + b"\r\n" + get(b"/x") + head + with_length + head + in_chunks + get(b"/x"))
    assert [(await client.answer()).status for _ in range(5)] == [200] * 5
    seen = [(message.method, message.body) for message in house.api.messages]
    assert seen == [(method, b""), (b"GET", b""), (method, b"hi"), (method, b"hi"), (b"GET", b"")]


@pytest.mark.parametrize(
    ("method", "status"),
    [(b"TRACE", 405), (b"trace", 405), (b"connect", 405), (b"PRI", 400)],
)
async def test_methods_that_mean_something_else_to_others_are_refused(house: House, method: bytes, status: int) -> None:
    await refused(house, method + b" /x HTTP/1.1\r\nHost: localhost\r\n\r\n", status)


async def test_a_method_that_no_rule_allows_is_refused(build: Build) -> None:
    house = await build(allow=["GET /**", "LIST /x"], deny=["purge /x"])
    for method, status in ((b"LIST", 200), (b"list", 403), (b"FOO", 403), (b"PURGE", 403)):
        assert (await house.ask(method + b" /x HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == status


# -- too large, too slow -------------------------------------------------------------------------------


async def test_128_fields_are_served_and_129_are_not(house: House) -> None:
    most = [b"X-%d: a" % number for number in range(127)]
    answer = await refused(house, get(b"/x", b"localhost", *most, b"X-One: too-many"), 431)
    assert answer.error == "http_request_error"
    seen = await passed(house, get(b"/x", b"localhost", *most))
    assert seen.get("X-126") == b"a"


async def test_a_head_of_33_kib_is_too_large(house: House) -> None:
    answer = await refused(house, get(b"/x", b"localhost", *[b"X-%d: " % n + b"a" * 3300 for n in range(10)]), 431)
    assert answer.error == "http_request_error"


async def test_a_field_of_33_kib_is_too_large(house: House) -> None:
    await refused(house, get(b"/x", b"localhost", b"X-A: " + b"a" * 33 * 1024), 431)


async def test_a_head_that_never_ends_is_too_large(house: House) -> None:
    client = await house.connect()
    await client.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n", *[b"X-A: " + b"a" * 1024 + b"\r\n"] * 40)
    assert (await client.answer()).status == 431
    assert await client.rest() == b""


async def test_a_target_of_40_kib_is_too_long(house: House) -> None:
    answer = await refused(house, get(b"/" + b"a" * 40 * 1024), 414)
    assert answer.error == "http_request_error"


async def test_a_head_of_30_kib_is_served(house: House) -> None:
    seen = await passed(house, get(b"/x", b"localhost", b"X-A: " + b"a" * 15000, b"X-B: " + b"b" * 15000))
    assert seen.get("X-A") == b"a" * 15000


async def test_a_slow_head_is_told_so_and_closed(build: Build) -> None:
    house = await build(server={"header_timeout": 0.2})
    client = await house.connect()
    await client.send(b"GET /x HTTP/1.1\r\nHost: loc")
    answer = await client.answer()
    assert (answer.status, answer.error) == (408, "http_request_error")
    assert await client.rest() == b""
    assert house.api.heard == b""


async def test_a_head_that_drips_is_not_given_more_time(build: Build) -> None:
    house = await build(server={"header_timeout": 0.3})
    client = await house.connect()

    async def drip() -> None:
        await client.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n")
        while True:
            await client.send(b"X-A: b\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    answer = await client.answer()
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)
    assert answer.status == 408


async def test_who_says_nothing_is_closed_without_a_word(build: Build) -> None:
    house = await build(server={"header_timeout": 0.2})
    client = await house.connect()
    assert await client.rest() == b""


async def test_who_is_idle_is_closed_without_a_word(build: Build) -> None:
    house = await build(server={"keepalive": 0.2})
    client = await house.connect()
    await client.send(get(b"/x"))
    assert (await client.answer()).status == 200
    assert await client.rest() == b""


async def test_a_slow_body_is_told_so_and_closed(build: Build) -> None:
    ended = asyncio.Event()

    @early
    async def step(_: Message, line: Line) -> None:
        await line.rest()
        ended.set()

    house = await build(step, server={"body_timeout": 0.2})
    client = await house.connect()
    await client.send(post("Content-Length: 10") + b"hello")
    answer = await client.answer()
    assert (answer.status, answer.error) == (408, "http_request_error")
    assert await client.rest() == b""
    async with asyncio.timeout(5):
        await ended.wait()


async def test_slow_heads_shut_nobody_out(build: Build) -> None:
    house = await build(server={"connections": 4})
    slow = [await house.connect() for _ in range(4)]
    for client in slow:
        await client.send(b"GET /x HTTP/1.1\r\n")
    assert (await house.ask(get(b"/x"))).status == 200
    assert await slow[0].rest() == b""


async def test_a_tls_hello_is_refused_at_once(house: House) -> None:
    client = await house.connect()
    await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100)
    answer = await client.answer()
    assert (answer.status, answer.error) == (400, "http_request_error")
    assert await client.rest() == b""
    assert house.api.heard == b""


async def test_a_body_over_the_limit_is_refused_before_it_comes_and_within(build: Build) -> None:
    house = await build(limits={"body": 10})
    answer = await house.ask(post("Content-Length: 11"))
    assert (answer.status, answer.error) == (413, "http_request_error")
    client = await house.connect()
    await client.send(post("Transfer-Encoding: chunked"), b"8\r\n12345678\r\n", b"8\r\n12345678\r\n")
    within = await client.answer()
    assert (within.status, within.error) == (413, "http_request_error")
    assert house.api.messages == []
    assert (await house.ask(post("Content-Length: 10") + b"0123456789")).status == 200


# -- who may come in -----------------------------------------------------------------------------------

BEARER = b"Proxy-Authorization: Bearer let-me-in"
BASIC = b"Proxy-Authorization: Basic " + b64encode(b"anyone:let-me-in")


@pytest.mark.parametrize("line", [BEARER, b"X-Countersign-Token: let-me-in", BASIC, BEARER.lower()])
async def test_the_client_token_lets_in_and_is_not_sent_on(build: Build, line: bytes) -> None:
    house = await build(server={"client_token": "let-me-in"})
    seen = await passed(house, get(b"/x", b"localhost", line))
    assert seen.get("Proxy-Authorization") is None
    assert b"let-me-in" not in house.api.heard
    assert b64encode(b"anyone:let-me-in") not in house.api.heard


@pytest.mark.parametrize(
    "lines",
    [(), (b"Proxy-Authorization: Bearer wrong",), (b"X-Countersign-Token: wrong",), (b"X-Countersign-Token:",),
     (b"Proxy-Authorization: Basic !!!",), (b"Proxy-Authorization: Bearer",), (b"Authorization: Bearer let-me-in",),
     (b"Proxy-Authorization: Basic " + b64encode(b"let-me-in:"),), (b"X_Countersign_Token: let-me-in",)],
)  # fmt: skip
async def test_without_the_client_token_nobody_comes_in(build: Build, lines: tuple[bytes, ...]) -> None:
    house = await build(server={"client_token": "let-me-in"})
    answer = await refused(house, get(b"/x", b"localhost", *lines), 407)
    assert answer.error == "http_request_denied"
    assert any(value.startswith(b"Bearer") for value in answer.all("Proxy-Authenticate"))
    assert answer.all("WWW-Authenticate") == []


async def test_the_407_of_a_missing_and_of_a_wrong_token_are_the_same(build: Build) -> None:
    house = await build(server={"client_token": "let-me-in"})
    missing = await house.ask(get(b"/x"))
    wrong = await house.ask(get(b"/x", b"localhost", b"X-Countersign-Token: wrong"))
    assert missing.fields == wrong.fields
    assert {**missing.problem, "request_id": ""} == {**wrong.problem, "request_id": ""}


@pytest.mark.parametrize(
    "lines",
    [(b"Origin: http://evil.example",), (b"Origin: null",), (b"Origin: https://localhost",), (b"Origin:",),
     (b"Origin: http://localhost:81",), (b"Sec-Fetch-Site: cross-site",), (b"Sec-Fetch-Site: same-site",),
     (b"Sec-Fetch-Site: same-origin", b"Origin: http://evil.example"),
     (b"Origin: http://localhost", b"Origin: http://evil.example"), (b"Sec-Fetch-Site: new-thing",),
     (b"Sec-Fetch-Site: none",), (b"Sec-Fetch-Site: none", b"Sec-Fetch-Mode: no-cors")],
)  # fmt: skip
async def test_pages_of_other_sites_may_not_call(house: House, lines: tuple[bytes, ...]) -> None:
    for method in (b"GET", b"HEAD", b"POST", b"OPTIONS"):
        client = await house.connect()
        await client.send(get(b"/x", b"localhost", *lines).replace(b"GET", method, 1))
        answer = await client.answer(method.decode())
        assert answer.status == 403
        assert answer.told.startswith(b"countersign; error=http_request_denied")
    assert house.api.heard == b""


@pytest.mark.parametrize(
    "lines",
    [(b"Origin: http://localhost",), (b"Sec-Fetch-Site: same-origin",),
     (b"Origin: http://localhost", b"Sec-Fetch-Site: same-origin")],
)  # fmt: skip
async def test_pages_of_the_proxys_own_origin_may_call(house: House, lines: tuple[bytes, ...]) -> None:
    assert (await passed(house, get(b"/x", b"localhost", *lines))).target == b"/x"


async def test_pages_of_an_allowed_origin_may_call_and_read(build: Build) -> None:
    house = await build(
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok",
        server={"allowed_origins": ["http://localhost:3000"]},
    )
    answer = await house.ask(
        get(b"/x", b"localhost:8080", b"Origin: http://localhost:3000", b"Sec-Fetch-Site: same-site")
    )
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.get("Access-Control-Allow-Origin") == b"http://localhost:3000"
    assert b"x-a" in (answer.get("Access-Control-Expose-Headers") or b"").lower()
    assert b"Origin" in answer.all("Vary")


async def test_preflights_of_an_allowed_origin_are_answered_here(build: Build) -> None:
    house = await build(server={"allowed_origins": ["http://localhost:3000"], "client_token": "let-me-in"})
    answer = await house.ask(
        b"OPTIONS /x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n"
        b"Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-countersign-token\r\n\r\n"
    )
    assert answer.status == 204
    assert answer.get("Access-Control-Allow-Origin") == b"http://localhost:3000"
    assert b"PUT" in (answer.get("Access-Control-Allow-Methods") or b"")
    assert b"x-countersign-token" in (answer.get("Access-Control-Allow-Headers") or b"")
    assert house.api.heard == b""
    denied = await house.ask(
        b"OPTIONS /x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3001\r\n"
        b"Access-Control-Request-Method: PUT\r\n\r\n"
    )
    assert denied.status == 403
    assert denied.get("Access-Control-Allow-Origin") is None


async def test_the_routes_policy_is_judged_on_the_path_decoded_once(build: Build) -> None:
    house = await build(prefix="/api", allow=["GET /repos/**"], deny=["GET /repos/secret/**"])
    assert (await house.ask(get(b"/api/repos/a"))).status == 200
    for target in (b"/api/users", b"/api/repos/secret/a", b"/api/repos/s%65cret/a", b"/api/repos//secret/a"):
        answer = await house.ask(get(target))
        assert (answer.status, answer.error) == (403, "http_request_denied"), target
    assert (await house.ask(get(b"/api/repos/a").replace(b"GET", b"DELETE", 1))).status == 403
    assert len(house.api.messages) == 1


OVERRIDES = (b"X-Original-URL: /admin", b"x-rewrite-url: /admin", b"X_Original_URL: /admin")


@pytest.mark.parametrize("route", [{"allow": ["GET /x"]}, {"deny": ["/admin"]}, {"path": "/base"}])
async def test_no_field_names_another_path_than_was_judged(build: Build, route: dict[str, Any]) -> None:
    seen = await passed(await build(**route), get(b"/x", b"localhost", *OVERRIDES))
    assert b"admin" not in seen.raw


async def test_where_no_path_is_judged_such_fields_go_on(house: House) -> None:
    assert (await passed(house, get(b"/x", b"localhost", *OVERRIDES))).raw.count(b"/admin") == 3


async def test_a_route_may_refuse_who_brings_an_authorization(build: Build) -> None:
    house = await build(client_authorization="refuse")
    await refused(house, get(b"/x", b"localhost", b"Authorization: Bearer mine"), 403)


async def test_a_route_may_keep_an_authorization(build: Build) -> None:
    house = await build(client_authorization="keep")
    seen = await passed(house, get(b"/x", b"localhost", b"Authorization: Bearer mine"))
    assert seen.all("Authorization") == [b"Bearer mine"]


# -- cleaning ------------------------------------------------------------------------------------------


async def test_what_belongs_to_one_hop_stays_behind(house: House) -> None:
    seen = await passed(
        house,
        get(
            b"/x", b"localhost", b"Connection: keep-alive, X-Named, Content-Length, Host", b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: X-T", b"X-Named: a", b"X-Kept: b",
        ),
    )  # fmt: skip
    for name in ("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "X-Named"):
        assert seen.get(name) is None, name
    assert seen.get("X-Kept") == b"b"
    assert seen.get("Host") == f"127.0.0.1:{house.api.port}".encode()


async def test_nothing_is_added_but_the_credential(house: House) -> None:
    seen = await passed(house, get(b"/x"))
    assert seen.raw == (
        f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{house.api.port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )


async def test_fields_arrive_as_they_were_twice_and_no_utf_8(house: House) -> None:
    lines = (b"X-A: one", b"x-a: two", b"X-B: \xe4\xff \xc3\xa4", b"X-A: one", b"X-Empty:", b"X-Spaces:  a  b\t")
    seen = await passed(house, get(b"/x", b"localhost", *lines))
    assert seen.fields[1:-1] == [
        (b"X-A", b"one"), (b"x-a", b"two"), (b"X-B", b"\xe4\xff \xc3\xa4"), (b"X-A", b"one"), (b"X-Empty", b""),
        (b"X-Spaces", b"a  b"),
    ]  # fmt: skip


async def test_an_empty_body_is_told_as_it_was(house: House) -> None:
    seen = await passed(house, post("Content-Length: 0"))
    assert seen.get("Content-Length") == b"0"
    assert seen.get("Transfer-Encoding") is None


async def test_an_empty_chunked_body_stays_a_body(house: House) -> None:
    seen = await passed(house, post("Transfer-Encoding: chunked") + b"0\r\n\r\n")
    assert seen.body == b""
    assert seen.get("Content-Length") in (None, b"0")


async def test_a_get_may_have_a_body(house: House) -> None:
    seen = await passed(house, get(b"/x", b"localhost", b"Content-Length: 5") + b"hello")
    assert (seen.method, seen.body) == (b"GET", b"hello")
