"""Bytes from sockets: requests of clients, and answers of upstreams."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from proxy.app import App
from proxy.clock import Clock
from proxy.config import load
from proxy.errors import ProxyError, UpstreamProtocolError
from proxy.gateway import Answer, Entrance, Inbound, Story
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.guard import Guard
from proxy.gateway.headers import read
from proxy.gateway.problem import problem
from proxy.gateway.server import Server
from proxy.log import Log
from proxy.transport.parser import AnswerParser
from tests.fuzz import target
from tests.fuzz.fields import LOOP, is_field
from tests.gateway.readers import climbs_out, decodings

asyncio.set_event_loop(LOOP)
SETTINGS = {
    "server": {"listen": ["127.0.0.1:0"], "admin": ""},
    "tokens": {"store": "memory"},
    "routes": {
        "a": {"prefix": "/a", "upstream": "https://api.test/base/v1", "allow": ["/**"], "deny": ["DELETE **"]},
        "b": {"host": "b.localhost", "upstream": "https://b.test:8443"},
        "c": {"prefix": "/c", "upstream": "http://127.0.0.1:1/x", "strip_prefix": False},
    },
}


async def _gateway() -> Any:
    app = App(load(overrides=SETTINGS, use_file=False), Log())
    await app.open()
    return app._now.gateway


GATEWAY = LOOP.run_until_complete(_gateway())
BASES = {"a": (b"api.test", b"/base/v1"), "b": (b"b.test:8443", b""), "c": (b"127.0.0.1:1", b"/x")}
ENTRANCE = Entrance("127.0.0.1:8080", 8080)
TARGETS = [
    b"/a", b"/c", b"..", b"%2e", b"%252e", b"%2f", b"%5c", b";", b"%3b", b"%c0%ae", b"%e0%80%ae", b"%uff0e", b"/",
    b"?", b"https://api.test",
    b"http://localhost:8080", b"%EF%BC%8E", b"%00", b"//", b"/./", b"*", b"%25", b"@", b":", b"%09",
    b"%c0%a5", b"%ef%bc%85", b"%ff",
]  # fmt: skip


@target(
    b"/a/x?y=1", b"/a/%2e%2e/x", b"/c/..;/x", b"https://api.test/base/v1/x", b"http://localhost:8080/a", b"*",
    b"/a//b/%252e%252e/",
    b"/a/%c0%ae%c0%ae/x", words=TARGETS,
)  # fmt: skip
def request_target(data: bytes) -> None:
    for host in (b"localhost:8080", b"b.localhost:8080", b"api.test"):
        for method in ("GET", "OPTIONS"):
            head = read([(b"Host", host)])
            inbound = Inbound(method, data, head, (1, 1), ENTRANCE, Story(method, "/", 0.0))
            try:
                route, request = GATEWAY.prepare(inbound)
            except ProxyError as failure:
                assert failure.status in (400, 403, 404, 421)
                assert data[:40] not in failure.detail.encode() or len(data) < 20
                continue
            authority, base = BASES[route.name]
            sent = request.extensions["target"]
            assert request.url.netloc == authority
            assert dict(request.headers.raw)[b"Host"] == authority
            assert sent == b"*" or re.fullmatch(re.escape(base) + rb"([/?][!-~]*)?", sent)
            path = sent.partition(b"?")[0]
            assert len(path) > 2000 or not any(climbs_out(each, base) for each in decodings(path))


# -- requests ------------------------------------------------------------------------------------------------


class Socket(asyncio.Transport):
    """One whose other side reads everything."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def writelines(self, pieces: Iterable[Any]) -> None:
        for piece in pieces:
            self.write(piece)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


GUARD = Guard()
seen: list[tuple[Inbound, bytes | None]] = []


async def _forward(inbound: Inbound) -> Answer:
    try:
        await GUARD.admit(inbound)
        body = None
        if inbound.body is not None:
            body = b"".join([piece async for piece in inbound.body()])
    except ProxyError as error:
        return problem(error, inbound.story)
    seen.append((inbound, body))
    return Answer(200, [(b"Content-Length", b"2")], b"ok", has_length=True)


async def _server() -> Server:
    return Server(_forward, ConnectionSettings(), Clock(), lambda _: None)


SERVER = LOOP.run_until_complete(_server())
# Several spaces are still no other words (RFC 9112, section 3).
_LINE = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([!-~\x80-\xff]+) +HTTP/1\.[01]"
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*"
# Line breaks before a request, bare ones too, are overlooked (RFC 9112, section 2.2): nothing else could be meant.
_HEAD = re.compile(rb"[\r\n]*%b\r\n((?:%b\r\n)*)\r\n" % (_LINE, _FIELD))


async def _talk(data: bytes, cut: int) -> Socket:
    connection = SERVER.protocol(ENTRANCE)()
    socket = Socket()
    connection.connection_made(socket)
    for piece in (data[:cut], data[cut:]):
        if piece and not socket.closed:
            connection.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
    connection.connection_lost(None)
    for _ in range(3):
        await asyncio.sleep(0)
    return socket


@target(
    b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabcGET /y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
    words=[b"\r\n", b"\n", b"Host: localhost", b"Content-Length: ", b"Transfer-Encoding: chunked", b"chunked",
    b"HTTP/1.1", b"HTTP/1.0", b" ", b"\t",
           b"GET ", b"0\r\n\r\n", b"5;x=y\r\n", b"Expect: 100-continue", b"Upgrade: websocket", b"Connection: ",
           b"Content_Length", b"\x0b", b"+"],
)  # fmt: skip
def request_head(data: bytes) -> None:
    seen.clear()
    socket = LOOP.run_until_complete(_talk(data, len(data) // 2 if data[-1:] > b"\x40" else len(data)))
    sent = bytes(socket.sent)
    assert not sent or sent.startswith(b"HTTP/1.1 ")
    assert b"HTTP/1.1 500" not in sent
    assert b"aiohttp" not in sent
    assert b"Traceback" not in sent
    if not re.match(rb"(HTTP/1\.1 100 [^\r]*\r\n\r\n)?HTTP/1\.1 200 ", sent):
        return  # the first one was refused; what came behind it may be a request of its own
    head = _HEAD.match(data)
    assert head, "what was forwarded first is not by RFC 9112"
    first, body = seen[0]
    lines = head[3].lower()
    # What precedes what is seen first may have been refused, and answered; then it closes.
    assert first.method.encode() == head[1]
    assert first.target == head[2]
    assert lines.count(b"\nhost:") + lines.startswith(b"host:") == 1
    lengths = re.findall(rb"(?:^|\n)content-length:[\t ]*([^\r]*?)[\t ]*\r", lines)
    codings = re.findall(rb"(?:^|\n)transfer-encoding:[\t ]*([^\r]*?)[\t ]*\r", lines)
    assert not (lengths and codings)
    assert len(set(lengths)) <= 1
    assert all(length.isdigit() for length in lengths)
    assert codings in ([], [b"chunked"])
    if lengths:
        assert (body or b"") == data[head.end() : head.end() + int(lengths[0])]
        assert len(body or b"") == int(lengths[0])
    if not lengths and not codings:
        assert not body


# -- answers -------------------------------------------------------------------------------------------------


def _parsed(pieces: Iterable[bytes], *, bodiless: bool, upgrade: bool) -> tuple[Any, ...]:
    parser = AnswerParser(max_head=2048, max_fields=16)
    parser.start(bodiless=bodiless, upgrade=upgrade)
    try:
        for piece in pieces:
            if piece:
                parser.feed(piece)
    except UpstreamProtocolError:
        return ("refused", parser.status)
    parser.finish()
    return parser.status, parser.reason, parser.fields, b"".join(parser.pieces), parser.complete, parser.surplus


@target(
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.0 200\r\n\r\nx",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81",
    b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    words=[b"\r\n", b"\n", b"Content-Length: ", b"Transfer-Encoding: ", b"chunked", b"HTTP/1.1 ", b"HTTP/1.0 ",
    b"100", b"101", b"204", b"304", b"200",
           b"0\r\n\r\n", b"5;x\r\n", b"Connection: close", b"-", b"+", b"\x0b"],
)  # fmt: skip
def upstream_answer(data: bytes) -> None:
    for bodiless, upgrade in ((False, False), (True, False), (False, True)):
        whole = _parsed([data], bodiless=bodiless, upgrade=upgrade)
        if whole[0] != "refused" and whole[0]:
            status, reason, fields, body, complete, _ = whole
            assert 101 <= status <= 999
            assert is_field(reason)
            assert all(
                is_field(value) and re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) for name, value in fields
            )
            assert len(body) <= len(data)
            lengths = [int(value) for name, value in fields if name.lower() == b"content-length"]
            if lengths and complete and not bodiless and status not in (101, 204, 304):
                assert len(body) == lengths[0]
            if bodiless:
                assert not body
        bits = _parsed([data[at : at + 1] for at in range(len(data))], bodiless=bodiless, upgrade=upgrade)
        # Refused in one piece may be an answer with too much behind it in many; what is an answer is the same one.
        if whole[0] != "refused" and bits[0] != "refused":
            assert whole[:5] == bits[:5]
