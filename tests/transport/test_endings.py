"""The end of an answer over TLS: what had come by then is there, and an end is one only if the upstream said so.

RFC 9112, section 9.8: without a length or chunks, an answer is complete only with TLS's close_notify.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import httpx
import pytest

from proxy.errors import ResponseIncomplete
from proxy.transport import HTTP11Transport
from tests.transport.requests import fetch, get
from tests.transport.upstream import Line, Script, Upstream

Certificates = tuple[ssl.SSLContext, ssl.SSLContext]
HEADS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n",
    "end": b"HTTP/1.1 200 OK\r\n\r\n",
}
SMALL, LARGE = 5, 1 << 20


def hang_up(line: Line) -> None:
    """End TCP and not TLS, as who is cut off does."""
    with socket.socket(fileno=os.dup(line.writer.get_extra_info("socket").fileno())) as wire:
        wire.shutdown(socket.SHUT_WR)


def says(head: bytes, size: int, *, farewell: bool) -> Script:
    async def script(line: Line) -> None:
        await line.head()
        line.writer.transport.set_write_buffer_limits(0)
        line.send((head % size if b"%" in head else head) + b"x" * size)
        await line.drain()
        if farewell:
            line.close()
        else:
            hang_up(line)
        await line.end()

    return script


async def read_into(pieces: list[bytes], response: httpx.Response, pause: float = 0.0) -> None:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for piece in response.stream:
        pieces.append(piece)
        await asyncio.sleep(pause)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def server(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.SSLContext:
    certificates[0].maximum_version = request.param
    return certificates[0]


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize(("head", "farewell"), [("length", True), ("length", False), ("end", True)])
async def test_what_is_complete_is_complete(
    server: ssl.SSLContext, certificates: Certificates, head: str, size: int, farewell: bool
) -> None:
    async with Upstream(says(HEADS[head], size, farewell=farewell), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=certificates[1])
        assert len((await fetch(transport, get())).body) == size
        await transport.aclose()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_an_end_that_tls_does_not_know_of_is_none(
    server: ssl.SSLContext, certificates: Certificates, size: int
) -> None:
    async with Upstream(says(HEADS["end"], size, farewell=False), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=certificates[1])
        response = await transport.handle_async_request(get())
        pieces: list[bytes] = []
        with pytest.raises(ResponseIncomplete) as caught:
            await read_into(pieces, response)
        assert b"".join(pieces) == b"x" * size
        assert (caught.value.sent, caught.value.begun) == (True, True)
        assert "before TLS did" in caught.value.detail
        await transport.aclose()


@pytest.mark.parametrize("farewell", [True, False])
async def test_what_came_while_the_client_was_slow_is_not_lost(
    server: ssl.SSLContext, certificates: Certificates, farewell: bool
) -> None:
    async with Upstream(says(HEADS["length"], LARGE, farewell=farewell), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=certificates[1])
        response = await transport.handle_async_request(get())
        pieces: list[bytes] = []
        await read_into(pieces, response, 0.001)  # slower than the upstream
        assert len(b"".join(pieces)) == LARGE
        await transport.aclose()
