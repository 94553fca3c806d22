"""httpx's stock transport: its failures are told in our terms, with the facts that decide a repetition."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable

import httpx
import pytest

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    DnsError,
    InternalError,
    OutgoingProxyError,
    OutOfSockets,
    ReadTimeout,
    ResponseIncomplete,
    TlsCertificateError,
    Unroutable,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
    WrongProtocol,
)
from proxy.transport.stock import Facts, StockTransport, translate
from proxy.transport.tls import context
from tests.doubles import raw_server, read_head
from tests.transport.requests import OK, fetch, get
from tests.transport.upstream import Upstream, always

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def sent(port: int, scheme: str = "http", host: str = "127.0.0.1", read: float = 5.0) -> bytes:
    transport = StockTransport(context, connect=5, read=read)
    try:
        request = httpx.Request("GET", f"{scheme}://{host}:{port}/")
        response = await transport.handle_async_request(request)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            return b"".join([piece async for piece in stream])
        finally:
            await stream.aclose()
    finally:
        await transport.aclose()


def plays(answer: bytes) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(answer)
        await writer.drain()

    return play


async def test_an_answer_is_an_answer() -> None:
    async with raw_server(plays(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as port:
        assert await sent(port) == b"ok"


@pytest.mark.parametrize(
    ("answer", "error", "begun"),
    [
        (b"", ConnectionTerminated, False),
        (b"garbage\r\n\r\n", UpstreamProtocolError, True),
        (b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nok", UpstreamProtocolError, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", ResponseIncomplete, True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", ResponseIncomplete, True),
    ],
)
async def test_what_breaks_after_sending(answer: bytes, error: type[UpstreamError], begun: bool) -> None:
    async with raw_server(plays(answer)) as port:
        with pytest.raises(error) as caught:
            await sent(port)
    assert (caught.value.sent, caught.value.reused, caught.value.begun) == (True, False, begun)


@pytest.mark.parametrize("how", ["cancelled", "too late", "no TLS"])
async def test_a_handshake_that_comes_to_nothing_leaves_no_connection(how: str) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        arrived.set()
        if how == "no TLS":
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while await reader.read(4096):
            pass
        ended.set()

    async with raw_server(play) as port:
        transport = StockTransport(context, connect=0.1 if how == "too late" else 5)
        asking = asyncio.create_task(transport.handle_async_request(httpx.Request("GET", f"https://127.0.0.1:{port}/")))
        await arrived.wait()
        if how == "cancelled":
            asking.cancel()
        async with asyncio.timeout(2):
            # Not by the garbage collector, whenever it comes: what failed is held on to.
            failed = await asyncio.gather(asking, return_exceptions=True)
            await ended.wait()
        await transport.aclose()
        assert isinstance(failed[0], BaseException)


async def test_nobody_listens() -> None:
    async with raw_server(plays(b"")) as port:
        pass
    with pytest.raises(ConnectionRefused) as caught:
        await sent(port)
    assert not caught.value.sent


async def test_no_such_name() -> None:
    with pytest.raises(DnsError):
        await sent(1, host="name.invalid")


async def test_no_tls_there() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(plain) as port:
        with pytest.raises(WrongProtocol, match=f"127.0.0.1:{port} does not speak TLS; expected http://"):
            await sent(port, scheme="https")


async def test_a_certificate_that_is_not_trusted(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with Upstream(always(OK), tls=certificates[0]) as upstream:
        with pytest.raises(TlsCertificateError) as caught:
            await sent(upstream.port, scheme="https", host="localhost")
    assert caught.value.detail.startswith(f"localhost:{upstream.port}: ")
    assert "expected tls = { ca = 'FILE' }" in caught.value.detail


async def test_no_connection_is_used_twice() -> None:
    """Its upstream may be closing it, and a token request that is lost may have spent a refresh token."""
    async with Upstream(always(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n")) as upstream:
        transport = StockTransport(context)
        for number in range(3):
            await fetch(transport, get(url=upstream.url))
            await (await upstream.line(number)).ended.wait()
        await transport.aclose()


async def test_a_silent_upstream() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(silent) as port:
        with pytest.raises(ReadTimeout) as caught:
            await sent(port, read=0.05)
    assert caught.value.sent


def caused(cause: Exception) -> httpx.ConnectError:
    failure = httpx.ConnectError("")
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (httpx.WriteTimeout(""), WriteTimeout),
        (httpx.ProxyError(""), OutgoingProxyError),
        (httpx.ConnectError("all attempts failed"), Unroutable),
        (caused(OSError(errno.EMFILE, "")), OutOfSockets),
        (httpx.LocalProtocolError(""), InternalError),
        (httpx.WriteError(""), ConnectionTerminated),
    ],
)
def test_the_rest_of_httpxs_exceptions(failure: httpx.HTTPError, error: type[Exception]) -> None:
    assert type(translate(failure, Facts())) is error


def test_every_exception_of_httpx_is_translated() -> None:
    pending: list[type[httpx.HTTPError]] = [httpx.TransportError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        assert translate(kind(""), Facts())


async def test_a_context_is_made_when_it_is_needed_and_not_before() -> None:
    made: list[int] = []

    def tls() -> ssl.SSLContext:
        made.append(1)
        return context()

    transport = StockTransport(tls)
    await transport.aclose()
    assert made == []
