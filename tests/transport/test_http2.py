"""Routes with HTTP/2: over a real server, and what keeps one answer from spoiling another."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived

from proxy.errors import (
    ConnectionTerminated,
    InternalError,
    ReadTimeout,
    ResponseIncomplete,
    TlsProtocolError,
    UpstreamError,
    UpstreamProtocolError,
)
from proxy.transport import HTTP11Transport
from proxy.transport.http2 import HTTP2Transport
from proxy.transport.stock import StockTransport, flaw
from tests.http2 import Application, Receive, Scope, Send, answer, body_of, http2_server, trusting
from tests.relay import Fate, Fates, Relay
from tests.transport.requests import Pieces, fetch, read, until
from tests.transport.test_connect import relay
from tests.transport.upstream import Line, Upstream

Serve = Callable[..., AbstractAsyncContextManager[tuple[HTTP2Transport, httpx.URL]]]


@pytest.fixture
def serve(authority: trustme.CA, localhost: trustme.LeafCert, tmp_path: Path) -> Serve:
    """Serve an application: ``async with serve(application) as (transport, url)``."""

    @asynccontextmanager
    async def served(
        application: Application, protocols: tuple[str, ...] = ("h2", "http/1.1")
    ) -> AsyncIterator[tuple[HTTP2Transport, httpx.URL]]:
        async with http2_server(application, tmp_path, localhost, protocols) as port:
            url = httpx.URL(f"https://localhost:{port}")
            transport = over(url, authority)
            try:
                yield transport, url
            finally:
                await transport.aclose()

    return served


def over(url: httpx.URL, authority: trustme.CA, read: float = 5.0) -> HTTP2Transport:
    return HTTP2Transport(
        lambda: StockTransport(lambda: trusting(authority), read=read, http2=True),
        HTTP11Transport(url, ssl_context=trusting(authority)),
    )


def request(
    url: httpx.URL, target: bytes = b"/", *fields: tuple[bytes, bytes], method: str = "GET", body: bytes | None = None
) -> httpx.Request:
    framing = () if body is None else ((b"Transfer-Encoding", b"chunked"),)
    headers = [(b"Host", url.netloc), *framing, *fields]
    stream = Pieces([] if body is None else [body[:3], body[3:]])
    return httpx.Request(method, url, headers=headers, stream=stream, extensions={"target": target})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await body_of(receive)
    path = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    told = b" ".join((scope["http_version"].encode(), scope["method"].encode(), path, body))
    await answer(send, 200, told, (b"set-cookie", b"a"), (b"set-cookie", b"b"))


async def test_requests_go_over_one_connection_and_answers_come_back(serve: Serve) -> None:
    async with serve(echo) as (transport, url):
        seen = await fetch(transport, request(url, b"/a%2Fb?c=%20", method="POST", body=b"hello"))
        assert (seen.status, seen.body) == (200, b"2 POST /a%2Fb?c=%20 hello")
        assert [value for name, value in seen.fields if name == b"set-cookie"] == [b"a", b"b"]
        many = await asyncio.gather(*(fetch(transport, request(url, b"/%d" % n)) for n in range(20)))
        assert [each.body for each in many] == [b"2 GET /%d " % n for n in range(20)]
        assert (await fetch(transport, request(url, method="HEAD"))).body == b""
        assert transport.open == 1


async def test_events_come_one_by_one(serve: Serve) -> None:
    go = [asyncio.Event(), asyncio.Event()]

    async def events(_: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for event in go:
            await event.wait()
            await send({"type": "http.response.body", "body": b"event", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serve(events) as (transport, url):
        response = await transport.handle_async_request(request(url))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        pieces = aiter(response.stream)
        for event in go:
            event.set()
            assert await anext(pieces) == b"event"
        assert await anext(pieces, None) is None
        await response.aclose()
        assert transport.open == 1


async def endless(gone: asyncio.Event, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/short":
        await echo(scope, receive, send)
        return
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"start", "more_body": True})
    assert (await receive())["type"] == "http.disconnect"
    gone.set()


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_an_answer_that_is_given_up_ends_upstream_and_spoils_no_other(serve: Serve, how: str) -> None:
    gone = asyncio.Event()
    async with serve(lambda *asgi: endless(gone, *asgi)) as (transport, url):
        response = await transport.handle_async_request(request(url, b"/endless"))
        assert (await fetch(transport, request(url, b"/short"))).status == 200
        assert transport.open == 1
        if how == "closed":
            await response.aclose()
        else:
            reading = asyncio.ensure_future(response.aread())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await response.aclose()
        await gone.wait()
        assert transport.open == 0
        assert (await fetch(transport, request(url, b"/short"))).status == 200


async def test_who_is_cancelled_while_another_connects_leaves_no_connection_behind(
    authority: trustme.CA, localhost: trustme.LeafCert, tmp_path: Path
) -> None:
    async with (
        http2_server(echo, tmp_path, localhost) as port,
        Relay(port, Fates(up=Fate(latency=0.05))) as network,
    ):
        url = httpx.URL(f"https://localhost:{network.port}")
        transport = over(url, authority)
        connecting = asyncio.create_task(fetch(transport, request(url)))
        await until(lambda: network.count)
        waiting = asyncio.create_task(fetch(transport, request(url)))
        await asyncio.sleep(0)
        waiting.cancel()
        assert (await connecting).status == 200
        assert transport.open == 0
        async with asyncio.timeout(2):
            await until(lambda: network.open == 0)
        await transport.aclose()


async def test_others_on_a_spoilt_connection_go_on_to_their_end(serve: Serve) -> None:
    gone = asyncio.Event()
    async with serve(lambda *asgi: endless(gone, *asgi)) as (transport, url):
        first, second = [await transport.handle_async_request(request(url, b"/endless")) for _ in range(2)]
        await first.aclose()
        assert isinstance(second.stream, httpx.AsyncByteStream)
        assert await anext(aiter(second.stream)) == b"start"
        assert (await fetch(transport, request(url, b"/short"))).status == 200
        assert transport.open == 2
        await second.aclose()
        assert transport.open == 1


async def test_more_streams_than_a_connection_has_get_another(serve: Serve) -> None:
    async with serve(lambda *asgi: endless(asyncio.Event(), *asgi)) as (transport, url):
        responses = await asyncio.gather(*(transport.handle_async_request(request(url)) for _ in range(101)))
        assert transport.open == 2
        await asyncio.gather(*(response.aclose() for response in responses))
        assert transport.open == 0


async def test_an_upstream_without_http2_says_so_before_anything_is_sent(serve: Serve) -> None:
    async with serve(echo, protocols=("http/1.1",)) as (transport, url):
        with pytest.raises(TlsProtocolError, match="http2 = false") as caught:
            await fetch(transport, request(url))
        assert not caught.value.sent
        assert transport.open == 0


async def test_it_goes_through_an_outgoing_proxy_too(serve: Serve, authority: trustme.CA) -> None:
    async with serve(echo) as (_, url):

        async def tunnel(line: Line) -> None:
            await line.head()
            line.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await relay(line, url.port or 0)

        async with Upstream(tunnel) as proxy:
            way = proxy.url.copy_with(username="user", password="p@ss")
            transport = StockTransport(lambda: trusting(authority), proxy=way, http2=True)
            for _ in range(2):
                assert (await fetch(transport, request(url))).body == b"2 GET / "
            await transport.aclose()
            (line,) = proxy.lines
            assert line.received.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % (url.port or 0))
            assert b"\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n" in line.received


async def test_what_wants_an_upgrade_goes_over_http_1(serve: Serve) -> None:
    async def accept(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["http_version"]) == ("websocket", "1.1")
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async with serve(accept) as (transport, url):
        handshake = (
            (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Version", b"13"),
            (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        )  # fmt: skip
        response = await transport.handle_async_request(request(url, b"/", *handshake))
        assert response.status_code == 101
        assert transport.open == 0
        await response.aclose()


# -- frames that a proper server does not send -------------------------------------------------------

Act = Callable[[H2Connection, int], bytes | None]


def break_off(connection: H2Connection, stream: int) -> None:
    connection.send_headers(stream, [(":status", "200"), ("content-length", "10")])
    connection.send_data(stream, b"half")
    connection.reset_stream(stream)


ENDS: dict[str, tuple[Act, type[UpstreamError], bool]] = {
    "refused": (lambda peer, stream: peer.reset_stream(stream, ErrorCodes.REFUSED_STREAM), ConnectionTerminated, False),
    "reset": (lambda peer, stream: peer.reset_stream(stream, ErrorCodes.INTERNAL_ERROR), ConnectionTerminated, True),
    "going away": (lambda peer, _: peer.close_connection(ErrorCodes.NO_ERROR), ConnectionTerminated, True),
    "broken off": (break_off, ResponseIncomplete, True),
    "data of no stream": (lambda _, __: bytes(9), UpstreamProtocolError, True),
    "closed": (lambda _, __: b"", ConnectionTerminated, True),
}  # fmt: skip


async def peer(act: Act, line: Line) -> None:
    """Act on the first request."""
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    line.send(connection.data_to_send())
    while data := await line.some(1 << 16):
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                assert event.stream_id
                raw = act(connection, event.stream_id)
                if raw == b"":
                    return
                line.send(connection.data_to_send() + (raw or b""))
    line.ended.set()


@pytest.mark.parametrize("end", ENDS)
async def test_each_end_of_a_stream_says_what_may_be_repeated(
    authority: trustme.CA, certificates: tuple[ssl.SSLContext, ssl.SSLContext], end: str
) -> None:
    act, error, sent = ENDS[end]
    async with Upstream(partial(peer, act), tls=certificates[0]) as upstream:
        transport = over(upstream.url, authority)
        with pytest.raises(error) as caught:
            await fetch(transport, request(upstream.url))
        await transport.aclose()
        assert (type(caught.value), caught.value.sent) == (error, sent)


async def slow_peer(start: Act, line: Line) -> None:
    """Start on the first request, and then send interim responses, or pings once the response has begun."""
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    line.send(connection.data_to_send())
    stream = 0
    while not stream:
        for event in connection.receive_data(await line.some(1 << 16)):
            stream = event.stream_id or 0 if isinstance(event, RequestReceived) else stream
    start(connection, stream)
    for _ in range(30):
        if start is begin:
            connection.ping(b"8 bytes.")
        else:
            connection.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        line.send(connection.data_to_send())
        await asyncio.sleep(0.1)
    if start is not begin:
        connection.send_headers(stream, [(":status", "200")])
    connection.end_stream(stream)
    line.send(connection.data_to_send())
    await line.end()


def begin(connection: H2Connection, stream: int) -> None:
    connection.send_headers(stream, [(":status", "200")])


async def whole(transport: HTTP2Transport, sent: httpx.Request) -> None:
    """Read a response, and close it however that ends."""
    response = await transport.handle_async_request(sent)
    try:
        await read(response)
    finally:
        await response.aclose()


@pytest.mark.parametrize("start", [lambda *_: None, begin], ids=["interim responses", "pings within the body"])
async def test_what_is_no_progress_does_not_extend_the_read_timeout(
    authority: trustme.CA, certificates: tuple[ssl.SSLContext, ssl.SSLContext], start: Act
) -> None:
    async with Upstream(partial(slow_peer, start), tls=certificates[0]) as upstream:
        transport = over(upstream.url, authority, read=0.3)
        with pytest.raises(ReadTimeout) as caught:
            await whole(transport, request(upstream.url, method="POST", body=b"hello"))
        assert (caught.value.sent, caught.value.begun) == (True, start is begin)
        assert transport.open == 0
        await transport.aclose()


async def test_a_field_that_http2_has_no_place_for_is_a_defect_of_ours(serve: Serve) -> None:
    async with serve(echo) as (transport, url):
        with pytest.raises(InternalError):
            await fetch(transport, request(url, b"/", (b"TE", b"gzip")))


async def test_after_its_end_it_takes_nothing(serve: Serve) -> None:
    async with serve(echo) as (transport, url):
        await transport.aclose()
        with pytest.raises(ConnectionTerminated):
            await fetch(transport, request(url))


# -- heads that HTTP/1.1 would repeat with another meaning ---------------------------------------------

HEADS: dict[str, list[tuple[bytes, bytes]]] = {
    "a cookie in a name": [(b":status", b"200"), (b"set-cookie: sid=evil; path=/b; x", b"y")],
    "a length in a name": [(b":status", b"200"), (b"content-length:", b"5")],
    "a space in a name": [(b":status", b"200"), (b"x y", b"z")],
    "a line in a value": [(b":status", b"200"), (b"x", b"y\r\nset-cookie: a=b")],
    "no status": [(b":status", b"99")],
    "a status in letters": [(b":status", b"abc")],
    "a status beyond 599": [(b":status", b"600")],
    "two lengths": [(b":status", b"200"), (b"content-length", b"0"), (b"content-length", b"0")],
}


@pytest.mark.parametrize("head", HEADS)
async def test_a_head_that_would_be_another_one_in_http11_is_refused(
    authority: trustme.CA, certificates: tuple[ssl.SSLContext, ssl.SSLContext], head: str
) -> None:
    def act(connection: H2Connection, stream: int) -> None:
        connection.config.validate_outbound_headers = connection.config.normalize_outbound_headers = False
        connection.send_headers(stream, HEADS[head], end_stream=True)

    async with Upstream(partial(peer, act), tls=certificates[0]) as upstream:
        transport = over(upstream.url, authority)
        with pytest.raises(UpstreamProtocolError):
            await fetch(transport, request(upstream.url))
        await transport.aclose()


@pytest.mark.parametrize(
    ("status", "fields"), [(100, []), (599, [(b"X-A", b"\xfc b")]), (200, [(b"!#$%&'*+.^_`|~", b"")])]
)
def test_a_head_that_stays_what_it_is(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    assert flaw(status, fields) == ""


@pytest.mark.parametrize(("status", "fields"), [(99, []), (600, []), (200, [(b"", b"x")]), (200, [(b"x", b"\0")])])
def test_a_head_that_does_not(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    assert flaw(status, fields)
