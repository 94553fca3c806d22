"""What RFC 9110 and RFC 9112 ask of a gateway that hands answers on, a row a requirement: what its client sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.journeys.conftest import HEAD, Build
from tests.journeys.wires import Fields, closing

ONE_0 = b"GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n"
ASKS_HEAD = b"HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True)
class Row:
    """A requirement, and an example of it.

    Attributes:
        section: where it stands.
        says: what is required, in short; of a deviation also why.
        answer: what the upstream says, and whether it ends then.
        sent: what the client asks.
        start: the status line that the client sees; of what can't be handed on a 502.
        has, lacks: fields, and names, of what it sees.
        body: the content that it sees.
        reused: whether the upstream's connection brings the next answer, too.

    """

    section: str
    says: str
    answer: bytes
    ends: bool = False
    sent: bytes = HEAD
    start: bytes = b"HTTP/1.1 200 OK"
    has: Fields = field(default_factory=list)
    lacks: tuple[str, ...] = ()
    body: bytes = b""
    reused: bool | None = None


BAD = b"HTTP/1.1 502 Bad Gateway"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def ok(*lines: bytes, body: bytes = b"ok") -> bytes:
    return OK + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % len(body) + body


ROWS = [
    # -- status lines --
    Row("9112 4", "a reason may be missing", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", body=b"ok"),
    Row("9112 4", "else it is handed on as it is", b"HTTP/1.1 200 Fine, thanks\r\nContent-Length: 0\r\n\r\n",
        start=b"HTTP/1.1 200 Fine, thanks"),
    Row("9110 15", "a status that nobody knows is handed on", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n",
        start=b"HTTP/1.1 299 Odd"),
    Row("9110 15", "one of its class, too", b"HTTP/1.1 499 Odd\r\nContent-Length: 0\r\n\r\n",
        start=b"HTTP/1.1 499 Odd"),
    Row("9112 4", "a status of two digits is none", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", start=BAD),
    Row("9112 2.3", "an answer of HTTP/1.0 is handed on in the gateway's version",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", body=b"ok", reused=False),
    Row("9112 2.2", "what is no HTTP is an error", b"SSH-2.0-OpenSSH_9.2\r\n", ends=True, start=BAD),
    Row("9112 2.3", "nor is another major version", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", start=BAD),
    # -- interim answers --
    Row("9110 15.2", "deviation: interim answers are passed over; the programs that this is for don't expect them",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(), body=b"ok", lacks=("Link",)),
    Row("9110 15.2", "a client of HTTP/1.0 never gets one", b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(), sent=ONE_0,
        body=b"ok"),
    Row("9110 15.2.2", "a switch that nobody asked for is an error",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", start=BAD),
    # -- framing --
    Row("9112 6.3", "a length tells the end", ok(b"A: b"), has=[(b"A", b"b"), (b"Content-Length", b"2")], body=b"ok",
        reused=True),
    Row("9112 7.1", "chunks are handed on as chunks", OK + CHUNKED + b"\r\n1;a=b\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        has=[(b"Transfer-Encoding", b"chunked")], lacks=("Content-Length",), body=b"ok", reused=True),
    Row("9112 6.1", "but not to a client of HTTP/1.0", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n", sent=ONE_0,
        lacks=("Transfer-Encoding",), body=b"ok"),
    Row("9112 6.3", "what has neither ends with its connection", OK + b"\r\nok", ends=True,
        has=[(b"Transfer-Encoding", b"chunked")], body=b"ok"),
    Row("9112 6.3", "a length beside a coding is an error", OK + CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
        start=BAD),
    Row("9112 6.3", "so are lengths that differ", OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", start=BAD),
    Row("9110 8.6", "and a length that is none", OK + b"Content-Length: two\r\n\r\nok", start=BAD),
    Row("9112 6.1", "an unknown coding is an error", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", start=BAD),
    Row("9112 6.1", "so is one in HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n0\r\n\r\n", start=BAD),
    Row("9112 6.3", "an answer to HEAD has no body, whatever its length", OK + b"Content-Length: 9\r\n\r\n",
        sent=ASKS_HEAD, has=[(b"Content-Length", b"9")], reused=True),
    Row("9112 6.3", "nor has a 304", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n",
        start=b"HTTP/1.1 304 Not Modified", has=[(b"ETag", b'"a"')], reused=True),
    Row("9110 8.6", "a 204 has no length either", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        start=b"HTTP/1.1 204 No Content", lacks=("Content-Length", "Transfer-Encoding")),
    Row("9112 6.3", "bytes behind an answer belong to no other", ok() + ok(body=b"!"),
        body=b"ok", reused=False),
    Row("9112 7.1.2", "trailers may be dropped", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n", body=b"ok",
        lacks=("A",), reused=True),
    # -- fields --
    Row("9110 5.3", "fields of the same name keep their order", ok(b"A: 1", b"B: 2", b"A: 3"),
        has=[(b"A", b"1"), (b"B", b"2"), (b"A", b"3")], body=b"ok"),
    Row("9110 5.3", "cookies stay apart", ok(b"Set-Cookie: a=1, b", b"Set-Cookie: c=2"),
        has=[(b"Set-Cookie", b"a=1, b"), (b"Set-Cookie", b"c=2")], body=b"ok"),
    Row("9110 5.5", "bytes above 127 in a value survive", ok(b"A: \xc3\xa4\xff"), has=[(b"A", b"\xc3\xa4\xff")],
        body=b"ok"),
    Row("9110 5.5", "control characters are an error", ok(b"A: b\x01c"), start=BAD),
    Row("9112 2.2", "and so is a bare CR", ok(b"A: b\rc"), start=BAD),
    Row("9112 5.2", "a folded line is an error", ok(b"A: b", b" c"), start=BAD),
    Row("9112 5.1", "deviation: space before a colon is an error, too, instead of taken out", ok(b"A : b"), start=BAD),
    Row("9112 5", "space around a value is no part of it", ok(b"A:\t b \t"), has=[(b"A", b"b")], body=b"ok"),
    Row("9110 7.6.1", "what Connection names stays behind", ok(b"Connection: A, keep-alive", b"A: b"),
        lacks=("Connection", "A"), body=b"ok"),
    Row("9110 7.6.1", "and what belongs to one hop without being named",
        ok(b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Upgrade: h2c", b"Trailer: A"),
        lacks=("Keep-Alive", "Proxy-Connection", "Upgrade", "Trailer"), body=b"ok"),
    Row("9110 7.6.3", "no Via, which a gateway may leave away in answers", ok(), lacks=("Via", "Server"), body=b"ok"),
    Row("9110 6.6.1", "a date is handed on", ok(b"Date: Sun, 06 Nov 1994 08:49:37 GMT"),
        has=[(b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT")], body=b"ok"),
    Row("9110 6.6.1", "deviation: none is added where there is none; an answer is handed on as it came", ok(),
        lacks=("Date",), body=b"ok"),
    Row("9110 8.4", "content that is packed stays packed", ok(b"Content-Encoding: gzip", body=b"\x1f\x8bx"),
        has=[(b"Content-Encoding", b"gzip")], body=b"\x1f\x8bx"),
    Row("9110 7.7", "and its description as it is", ok(b"ETag: W/\"a\"", b"Content-Type: a/B; c=d", b"Vary: *"),
        has=[(b"ETag", b'W/"a"'), (b"Content-Type", b"a/B; c=d"), (b"Vary", b"*")], body=b"ok"),
    Row("9110 14.4", "parts are handed on", b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\n"
        b"Content-Length: 2\r\n\r\nok", start=b"HTTP/1.1 206 Partial Content", has=[(b"Content-Range", b"bytes 0-1/9")],
        body=b"ok"),
    Row("9110 10.2.2", "a redirect is the client's to follow", b"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\n"
        b"Content-Length: 0\r\n\r\n", start=b"HTTP/1.1 302 Found", has=[(b"Location", b"http://other.example/")]),
    Row("9110 15.5.2", "a challenge is handed on", b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n"
        b"Content-Length: 0\r\n\r\n", start=b"HTTP/1.1 401 Unauthorized", has=[(b"WWW-Authenticate", b"Basic")]),
    # -- connections --
    Row("9112 9.3", "a connection of HTTP/1.1 is used again", ok(), body=b"ok", reused=True),
    Row("9112 9.6", "unless the upstream says that it closes it", ok(b"Connection: close"), body=b"ok",
        lacks=("Connection",), reused=False),
    Row("9112 9.3", "one of HTTP/1.0 is, if it says so",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", body=b"ok", reused=True),
    Row("9112 8", "an answer that ends within its head is an error", OK + b"A: b\r\n", ends=True, start=BAD),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.section}-{row.says}" for row in ROWS])
async def test_a_requirement_on_answers(build: Build, row: Row) -> None:
    house = await build(closing(row.answer) if row.ends else row.answer, retry={"attempts": 1})
    client = await house.connect()
    await client.send(row.sent)
    seen = await client.answer(row.sent.split(b" ")[0].decode())
    assert (seen.start, seen.interim) == (row.start, [])
    if row.start == BAD:
        assert seen.error
        await house.api.came(lambda: house.api.lines[0].ended.is_set() or row.ends)
        return
    names = {name for name, _ in row.has}
    assert [field for field in seen.fields if field[0] in names] == row.has
    assert [name for name in row.lacks if seen.all(name)] == []
    assert seen.body == row.body
    assert not seen.all("Proxy-Status")
    if row.reused is not None:
        assert (await house.ask()).status == 200
        assert (house.api.messages[-1].connection == 0) is row.reused
