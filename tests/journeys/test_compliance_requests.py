"""What RFC 9110 and RFC 9112 ask of a gateway that is sent requests, a row a requirement: what its upstream sees."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.journeys.conftest import TOKEN, Build
from tests.journeys.wires import Fields

HOST = b"Host: localhost\r\n"
BEARER = b"Bearer " + TOKEN.encode()


@dataclass(frozen=True)
class Row:
    """A requirement, and an example of it.

    Attributes:
        section: where it stands.
        says: what is required, in short; of a deviation also why.
        sent: what the client sends.
        status: of the last answer; what is not 200 has not reached the upstream.
        start: the request line that the upstream sees.
        has, lacks: fields, and names, of what it sees.
        body: the content that it sees.
        closed: whether the client's connection ends.
        told: fields of the answer.

    """

    section: str
    says: str
    sent: bytes
    status: int = 200
    start: bytes = b"GET /x HTTP/1.1"
    has: Fields = field(default_factory=list)
    lacks: tuple[str, ...] = ()
    body: bytes = b""
    closed: bool | None = None
    told: Fields = field(default_factory=list)


def get(*lines: bytes, target: bytes = b"/x", version: bytes = b"1.1") -> bytes:
    return b"GET %b HTTP/%b\r\n" % (target, version) + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST /x HTTP/%b\r\n" % version + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


POST = b"POST /x HTTP/1.1"
CHUNKED = b"Transfer-Encoding: chunked"

ROWS = [
    # -- messages --
    Row("9112 2.2", "an empty line before a request is ignored", b"\r\n" + get()),
    Row("9112 2.2", "a bare CR is no line end", b"GET /x HTTP/1.1\r\n" + HOST + b"A: b\rC: d\r\n\r\n", 400),
    Row("9112 2.2", "space between request line and fields is refused",
        b"GET /x HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n", 400),
    Row("9112 2.3", "a message is forwarded with the gateway's own version", get(version=b"1.0")),
    Row("9110 2.5", "another major version is refused", get(version=b"2.0"), 400, closed=True),
    Row("9112 2.2", "what is no HTTP is answered 400 and closed", b"hello\r\n\r\n", 400, closed=True),
    # -- request lines --
    Row("9112 3", "space within the target is refused", get(target=b"/x y"), 400),
    Row("9112 3", "a target that is too long is a 414", get(target=b"/" + b"x" * 40_000), 414),
    Row("9112 3.2", "a request of HTTP/1.1 without Host is a 400", b"GET /x HTTP/1.1\r\n\r\n", 400),
    Row("9112 3.2", "deviation: one of HTTP/1.0 is, too; a page behind a name that was bound anew could send it",
        b"GET /x HTTP/1.0\r\n\r\n", 400),
    Row("9112 3.2", "two Hosts are a 400", get(b"Host: localhost"), 400),
    Row("9112 3.2", "an invalid Host is a 400", b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    Row("9110 7.4", "a Host that is not served is misdirected", b"GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n", 421),
    Row("9110 7.2", "Host is the upstream's", get(), lacks=("X-Forwarded-Host",)),
    Row("9112 3.2.1", "the origin form is forwarded byte for byte", get(target=b"/a%2Fb//c?d=%7e&&?"),
        start=b"GET /a%2Fb//c?d=%7e&&? HTTP/1.1"),
    Row("9112 3.2.3", "the authority form belongs to CONNECT, which is not served",
        b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n", 405),
    Row("9112 3.2.4", "the asterisk form of OPTIONS is forwarded", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        start=b"OPTIONS * HTTP/1.1"),
    Row("9110 4.2.4", "userinfo in a target is refused", get(target=b"http://a:b@localhost/x"), 400),
    # -- fields --
    Row("9112 5", "space around a value is no part of it", get(b"A:\t b \t"), has=[(b"A", b"b")]),
    Row("9112 5.1", "space between name and colon is refused", get(b"A : b"), 400),
    Row("9112 5.2", "a folded line is refused", get(b"A: b", b"  c"), 400),
    Row("9110 5.1", "a name that is no token is refused", get(b"A(b): c"), 400),
    Row("9110 5.3", "fields of the same name keep their order", get(b"A: 1", b"B: 2", b"A: 3"),
        has=[(b"A", b"1"), (b"B", b"2"), (b"A", b"3")]),
    Row("9110 5.4", "fields that are too large are a 431", get(b"A: " + b"x" * 40_000), 431),
    Row("9110 5.5", "bytes above 127 in a value survive", get(b"A: \xc3\xa4\xff"), has=[(b"A", b"\xc3\xa4\xff")]),
    Row("9110 5.5", "control characters in a value are refused", get(b"A: b\x01c"), 400),
    Row("9110 5.5", "an empty value is a value", get(b"A:"), has=[(b"A", b"")]),
    # -- bodies --
    Row("9112 6", "a body is framed as the client framed it: by its length", post(b"Content-Length: 3", body=b"abc"),
        start=POST, has=[(b"Content-Length", b"3")], lacks=("Transfer-Encoding",), body=b"abc"),
    Row("9112 6", "or by chunks", post(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), start=POST,
        has=[(b"Transfer-Encoding", b"chunked")], lacks=("Content-Length",), body=b"abc"),
    Row("9112 6.3", "without either there is none", post(), start=POST, lacks=("Transfer-Encoding",)),
    Row("9110 8.6", "a length of none is forwarded", post(b"Content-Length: 0"), start=POST,
        has=[(b"Content-Length", b"0")]),
    Row("9112 6.1", "an unknown coding is refused", post(b"Transfer-Encoding: gzip, chunked"), 400, closed=True),
    Row("9112 6.1", "chunked is the last coding", post(b"Transfer-Encoding: chunked, gzip"), 400, closed=True),
    Row("9112 6.1", "chunked twice is refused", post(CHUNKED, CHUNKED), 400, closed=True),
    Row("9112 6.1", "a coding beside a length is refused", post(CHUNKED, b"Content-Length: 3"), 400, closed=True),
    Row("9112 6.1", "a coding in HTTP/1.0 is refused", post(CHUNKED, body=b"0\r\n\r\n", version=b"1.0"), 400,
        closed=True),
    Row("9112 6.3", "lengths that differ are refused", post(b"Content-Length: 3", b"Content-Length: 4"), 400,
        closed=True),
    Row("9110 8.6", "a length that is none is refused", post(b"Content-Length: +3"), 400, closed=True),
    Row("9112 7.1", "sizes of chunks are hexadecimal in any case", post(CHUNKED, body=b"A\r\n0123456789\r\n0\r\n\r\n"),
        start=POST, body=b"0123456789"),
    Row("9112 7.1.1", "extensions of chunks are ignored", post(CHUNKED, body=b"3;a=b;c\r\nabc\r\n0;d\r\n\r\n"),
        start=POST, body=b"abc"),
    Row("9112 7.1.2", "trailers may be dropped", post(CHUNKED, body=b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"), start=POST,
        body=b"abc"),
    Row("9112 7.1", "a broken chunk is a 400", post(CHUNKED, body=b"z\r\nabc\r\n0\r\n\r\n"), 400, closed=True),
    Row("9110 9.3.1", "a GET may have a body", get(b"Content-Length: 3") + b"abc", body=b"abc"),
    Row("9110 8.4", "content that is packed stays packed",
        post(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"\x1f\x8bx"), start=POST,
        has=[(b"Content-Encoding", b"gzip")], body=b"\x1f\x8bx"),
    # -- one hop --
    Row("9110 7.6.1", "what Connection names stays behind", get(b"Connection: A, keep-alive", b"A: b"),
        lacks=("Connection", "A")),
    Row("9110 7.6.1", "but not what the message needs", get(b"Connection: Host, Authorization"),
        has=[(b"Authorization", BEARER)]),
    Row("9110 7.6.1", "and what belongs to one hop without being named",
        get(b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: A"),
        lacks=("Keep-Alive", "Proxy-Connection", "TE", "Trailer")),
    Row("9110 7.6.3", "deviation: no Via, so that the API sees what it would see without a gateway", get(),
        lacks=("Via", "Forwarded", "X-Forwarded-For")),
    Row("9110 7.6.2", "Max-Forwards belongs to TRACE and OPTIONS; for any other method it is a field like others",
        get(b"Max-Forwards: 0"), has=[(b"Max-Forwards", b"0")]),
    Row("9110 7.8", "an upgrade that is not followed is ignored",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA"),
        lacks=("Upgrade", "Connection", "HTTP2-Settings")),
    Row("9110 7.8", "Upgrade without Connection is none", get(b"Upgrade: websocket"), lacks=("Upgrade",)),
    Row("9110 11.7.2", "Proxy-Authorization stays here", get(b"Proxy-Authorization: Basic eDp5"),
        lacks=("Proxy-Authorization",)),
    Row("9110 11.6.2", "the credential is the gateway's, once", get(b"Authorization: Basic eDp5", b"authorization: x"),
        has=[(b"Authorization", BEARER)]),
    # -- methods --
    Row("9110 9.1", "methods that other RFCs define are forwarded", b"PROPFIND /x HTTP/1.1\r\n" + HOST + b"\r\n",
        start=b"PROPFIND /x HTTP/1.1"),
    Row("9110 9.1", "and so are all others", b"FROB!~ /x HTTP/1.1\r\n" + HOST + b"\r\n", start=b"FROB!~ /x HTTP/1.1"),
    Row("9110 9.1", "methods are case-sensitive", b"get /x HTTP/1.1\r\n" + HOST + b"\r\n", start=b"get /x HTTP/1.1"),
    Row("9110 9.3.8", "TRACE would show the credential: it is refused", b"TRACE /x HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    Row("9110 15.5.6", "a 405 tells what is allowed", b"TRACE /x HTTP/1.1\r\n" + HOST + b"\r\n", 405,
        told=[(b"Allow", b"*")]),
    # -- expectations, conditions, ranges --
    Row("9110 10.1.1", "an unknown expectation is a 417", get(b"Expect: a-miracle"), 417),
    Row("9110 10.1.1", "100-continue without a body is nothing", get(b"Expect: 100-continue"), lacks=("Expect",)),
    Row("9110 13", "conditions are the API's business", get(b'If-None-Match: W/"a"', b"If-Modified-Since: x"),
        has=[(b"If-None-Match", b'W/"a"'), (b"If-Modified-Since", b"x")]),
    Row("9110 14", "and so are ranges", get(b"Range: bytes=0-0", b'If-Range: "a"'),
        has=[(b"Range", b"bytes=0-0"), (b"If-Range", b'"a"')]),
    Row("9110 12", "and what is accepted", get(b"Accept: a/b;q=0.1", b"Accept-Encoding: br", b"Accept-Language: x"),
        has=[(b"Accept", b"a/b;q=0.1"), (b"Accept-Encoding", b"br"), (b"Accept-Language", b"x")]),
    Row("9110 7.7", "no field is added or changed but those that a gateway must",
        get(b"uSER-aGENT: me", b"Pragma: no-cache"), has=[(b"uSER-aGENT", b"me"), (b"Pragma", b"no-cache")]),
    # -- connections --
    Row("9112 9.3", "a connection of HTTP/1.1 stays", get(), closed=False),
    Row("9112 9.3", "one of HTTP/1.0 does not", get(version=b"1.0"), closed=True),
    Row("9112 9.3", "unless it is asked to", get(b"Connection: keep-alive", version=b"1.0"), closed=False,
        told=[(b"Connection", b"keep-alive")]),
    Row("9112 9.6", "who asks for the end is told of it", get(b"Connection: close"), closed=True,
        told=[(b"Connection", b"close")]),
    Row("9112 9.3.2", "requests in one go are answered in their order, and nothing behind a broken one is read",
        get() + b"BROKEN\r\n\r\n" + get(target=b"/never"), 400, closed=True),
    Row("9110 6.6.1", "an error of the gateway's own is dated", get(b"Host: localhost"), 400, told=[(b"Date", b"*")]),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.section}-{row.says}" for row in ROWS])
async def test_a_requirement_on_requests(build: Build, row: Row) -> None:
    house = await build()
    client = await house.connect()
    await client.send(row.sent)
    answer = await client.answer()
    while answer.status == 200 != row.status:  # of the request before the one that it is about
        answer = await client.answer()
    assert answer.status == row.status
    if row.closed:
        assert await client.rest() == b""
    elif row.closed is False:
        await client.send(get(target=b"/another"))
        assert (await client.answer()).status == 200
        assert house.api.messages.pop().target == b"/another"
    for name, value in row.told:
        assert answer.get(name.decode()) == value if value != b"*" else answer.get(name.decode())
    if row.status != 200:
        assert b"/never" not in house.api.heard
        assert answer.error
        return
    (seen,) = house.api.messages
    assert seen.start == row.start
    assert seen.all("Host") == [b"127.0.0.1:%d" % house.api.port]
    assert seen.all("Authorization") == [BEARER]
    names = {name for name, _ in row.has}
    assert [field for field in seen.fields if field[0] in names] == row.has
    assert [name for name in row.lacks if seen.all(name)] == []
    assert seen.body == row.body
