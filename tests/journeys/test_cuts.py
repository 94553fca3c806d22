"""An API that dies in the middle of its answer, early, half-way and late: the client always sees that it did."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trustme

from tests.conftest import Running, Start
from tests.http2 import Receive, Scope, Send, body_of, http2_server
from tests.journeys.wires import Api, Line, Message, curl
from tests.relay import End, Fate, Fates, Relay

SIZE = 1 << 19  # of which 1 % is more than a TLS handshake
BODY = b"0123456789abcdef" * (SIZE // 16)
PIECE = 1 << 13
FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE + BODY,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (PIECE, BODY[at : at + PIECE]) for at in range(0, SIZE, PIECE))
    + b"0\r\n\r\n",
    "connection": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
}
SHARES = (0.01, 0.5, 0.99)
ENDS: tuple[End, ...] = ("close", "reset")
CUTS = [
    (scheme, framing, end)
    for scheme in ("http", "https")
    for framing in FRAMINGS
    for end in ENDS
    # What ends with a connection without TLS may end anywhere: nobody can know that more was to come.
    if (scheme, framing, end) != ("http", "connection", "close")
]
CUTS += [("http2", "frames", end) for end in ENDS]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def serving(scheme: str, framing: str, authority: trustme.CA, directory: Path) -> AsyncIterator[int]:
    """An API that answers everything with the body; yields its port."""
    leaf = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    async with AsyncExitStack() as stack:
        if scheme == "http2":
            yield await stack.enter_async_context(http2_server(whole, directory, leaf))
            return
        api = await stack.enter_async_context(Api())
        head, end, body = FRAMINGS[framing].partition(b"\r\n\r\n")

        async def step(_: Message, line: Line) -> None:
            await line.send(head + end, body)  # the head in a record of its own, or what is cut first takes it along

        api.always = step
        if scheme == "https":
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            leaf.configure_cert(context)
            server = await asyncio.start_server(api._connected, "127.0.0.1", 0, ssl=context)
            stack.callback(server.close)
            stack.callback(api.lines.clear)  # asyncio's TLS transports can't be asked for their socket afterwards
            yield server.sockets[0].getsockname()[1]
        else:
            yield api.port


async def whole(_: Scope, receive: Receive, send: Send) -> None:
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for at in range(0, SIZE, PIECE):
        await send({"type": "http.response.body", "body": BODY[at : at + PIECE], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


# -- clients -------------------------------------------------------------------------------------------


async def by_curl(url: str, version: str = "--http1.1") -> None:
    code, out = await curl(url, version)
    assert code in (18, 52, 56), (version, len(out))
    assert BODY.startswith(out)


async def by_old_curl(url: str) -> None:
    await by_curl(url, "--http1.0")


async def by_httpx(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get(url)


async def by_the_standard_library(url: str) -> None:
    def get() -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", "/x")
            connection.getresponse().read()
        finally:
            connection.close()

    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError)):
        await asyncio.to_thread(get)


async def by_h11(url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    client = h11.Connection(h11.CLIENT)
    writer.write(client.send(h11.Request(method="GET", target="/x", headers=[("Host", "localhost")])) or b"")
    client.send(h11.EndOfMessage())

    async def read() -> None:
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                client.receive_data(await reader.read(1 << 16))

    with pytest.raises((h11.RemoteProtocolError, ConnectionResetError)):
        await read()
    writer.close()


# One after another, each is cut at the next share.
CLIENTS: list[Callable[[str], Any]] = [
    *[by_curl] * 3, *[by_old_curl] * 3, by_httpx, by_the_standard_library, by_h11,
]  # fmt: skip


def counted(running: Running) -> dict[str, float]:
    """Requests sent upstream, by what came of them."""
    samples = (sample for family in running.app.metrics.families() for sample in family.samples)
    return {
        sample.labels["outcome"]: sample.value
        for sample in samples
        if sample.name == "countersign_upstream_attempts_total"
    }


async def everybody_sees(start: Start, scheme: str, relay: Relay, directory: Path) -> None:
    tls = {"tls": {"ca": str(directory / "ca.pem")}, "http2": scheme == "http2"} if scheme != "http" else {}
    upstream = f"{'http' if scheme == 'http' else 'https'}://localhost:{relay.port}"
    api = {"prefix": "/", "upstream": upstream, "retry": {"attempts": 1}, **tls}
    running = await start({"routes": {"api": api}})
    for client in CLIENTS:
        await client(running.url)
    async with asyncio.timeout(5):
        while running.lines.count('"complete": false') < len(CLIENTS):
            await asyncio.sleep(0.01)
    assert running.lines.count('"error": "http_response_incomplete"') == len(CLIENTS)
    assert counted(running) == {"http_response_incomplete": len(CLIENTS)}


@pytest.mark.parametrize(("scheme", "framing", "end"), CUTS)
async def test_nobody_takes_it_for_complete(
    start: Start, authority: trustme.CA, tmp_path: Path, scheme: str, framing: str, end: End
) -> None:
    cuts = [Fates(down=Fate(after=round(SIZE * share), end=end)) for share in SHARES]
    async with (
        serving(scheme, framing, authority, tmp_path) as port,
        Relay(port, lambda number: cuts[number % 3]) as relay,
    ):
        await everybody_sees(start, scheme, relay, tmp_path)
        assert relay.count == len(CLIENTS)
