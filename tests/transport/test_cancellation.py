"""A request may be cancelled at any await: after each number of turns of the event loop, nothing is left behind."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import httpx
import pytest

from proxy.transport import HTTP11Transport
from tests.transport.requests import Pieces, fetch, get, post, until
from tests.transport.test_connect import relay
from tests.transport.upstream import Line, Upstream

Certificates = tuple[ssl.SSLContext, ssl.SSLContext]
Ask = Callable[[HTTP11Transport, bytes], Awaitable[bytes]]


def open_sockets() -> int:
    """How many sockets this process has."""
    links = Path("/proc/self/fd")
    return sum(str(link.readlink()).startswith("socket:") for link in links.iterdir() if link.is_symlink())


async def echo(line: Line) -> None:
    """Answer each request by its own target, in pieces."""
    while True:
        head = await line.head()
        if b"chunked" in head:
            await line.until(b"0\r\n\r\n")
        elif b"Content-Length: 10" in head:
            await line.exactly(10)
        target = head.split()[1]
        for piece in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: %d\r\n\r\n" % len(target), target[:3], target[3:]):
            line.send(piece)
            await asyncio.sleep(0)


async def plain(transport: HTTP11Transport, target: bytes) -> bytes:
    return (await fetch(transport, get(target))).body


async def uploading(transport: HTTP11Transport, target: bytes) -> bytes:
    request = post(Pieces([b"12345", b"67890"]), 10)
    request.extensions["target"] = target
    return (await fetch(transport, request)).body


async def chunked(transport: HTTP11Transport, target: bytes) -> bytes:
    request = post(Pieces([b"12345", b"67890"]), None)
    request.extensions["target"] = target
    return (await fetch(transport, request)).body


async def leaving(transport: HTTP11Transport, target: bytes) -> bytes:
    """Ask, and don't read the answer."""
    response = await transport.handle_async_request(get(target))
    await response.aclose()
    return target


async def cancel_at_every_step(transport: HTTP11Transport, ask: Ask, *, warm: bool) -> int:
    """Cancel a request after 0, 1, 2 … turns of the loop, until it is through before that; return their number."""
    before = open_sockets() - transport.open
    for turns in count():
        if warm:
            assert await plain(transport, b"/warm/%d" % turns) == b"/warm/%d" % turns
        asking = asyncio.ensure_future(ask(transport, b"/cancelled/%d" % turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        if asking.done():
            assert await asking == b"/cancelled/%d" % turns
            return turns
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        # Nobody is at work any more; whoever asks next gets an answer of its own.
        await until(lambda: transport.open == transport.idle)
        assert await plain(transport, b"/next/%d" % turns) == b"/next/%d" % turns
        if not warm:
            while (connection := transport._pool.take()) is not None:  # type: ignore[union-attr]  # it was used
                connection.cut()
            await until(lambda: not transport.open)
        await until(lambda: open_sockets() - before <= 2 * transport.open)
    raise AssertionError


@pytest.mark.parametrize("warm", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("ask", [plain, uploading, chunked, leaving])
async def test_over_plain_http(ask: Ask, warm: bool) -> None:
    async with Upstream(echo) as upstream:
        transport = HTTP11Transport(upstream.url)
        assert await cancel_at_every_step(transport, ask, warm=warm) > 2
        await transport.aclose()


@pytest.mark.parametrize("ask", [plain, uploading])
async def test_over_tls(ask: Ask, certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(echo, tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        assert await cancel_at_every_step(transport, ask, warm=False) > 5
        await transport.aclose()


async def test_through_an_outgoing_proxy(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(echo, tls=server) as upstream:

        async def tunnel(line: Line) -> None:
            await line.head()
            line.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await relay(line, upstream.port)

        async with Upstream(tunnel) as proxy:
            transport = HTTP11Transport(upstream.url, ssl_context=client, proxy=proxy.url)
            assert await cancel_at_every_step(transport, plain, warm=False) > 5
            await transport.aclose()


async def test_through_a_unix_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Upstream(echo, uds=Path("s")):
        transport = HTTP11Transport(httpx.URL("http://localhost"), uds="s")
        assert await cancel_at_every_step(transport, plain, warm=False) > 2
        await transport.aclose()
