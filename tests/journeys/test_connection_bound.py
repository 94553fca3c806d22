"""Schemes that authenticate a connection (NTLM, Negotiate): the messages of a handshake stay together."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvloop

from proxy.app import App
from proxy.config import load
from proxy.log import Log
from tests.doubles import raw_server, read_head

PAGE = b"no" * 40_000  # larger than what is read of other refused responses
PARALLEL = 80


class Bound:
    """An upstream whose handshakes hold for one connection and one request.

    Attributes:
        requests: the Authorization of each request, by its connection.
        connections: how many there are now.
        closes: whether the connection is closed behind the challenge.

    """

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.connections = 0
        self.closes = False
        self.aside = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        seen: list[str] = []
        self.requests.append(seen)
        nonce = ""
        try:
            while True:
                head = (await read_head(reader)).decode()
                fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                body = await reader.readexactly(int(fields.get("Content-Length", "0")))
                seen.append(fields.get("Authorization", ""))
                expected, nonce = nonce, ""
                if expected and seen[-1] == f"NTLM type3 {expected}":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                    continue
                if seen[-1] == "NTLM type1":
                    nonce = f"{id(seen)}-{len(seen)}"
                self._refuse(writer, nonce)
                await writer.drain()
                if nonce and self.closes:
                    return
        finally:
            self.connections -= 1

    def _refuse(self, writer: asyncio.StreamWriter, nonce: str) -> None:
        challenge = f"NTLM {nonce}".rstrip().encode()
        page = PAGE if nonce else b"no"
        head = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: %b\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (challenge, len(page)) + page)

    async def other(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the other origin that a flow asks in between."""
        while True:
            await read_head(reader)
            self.aside += 1
            await asyncio.sleep(0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def proxied(play: Bound, credential: dict[str, Any]) -> AsyncIterator[tuple[httpx.AsyncClient, App]]:
    async with raw_server(play) as port, raw_server(play.other) as other:
        table = {**credential, "type": "python", "class": "tests.credentials.strangers:Handshake"}
        if table.get("url"):
            table["url"] = f"http://127.0.0.1:{other}/"
        route = {"upstream": f"http://127.0.0.1:{port}", "credential": table}
        server = {"listen": ["127.0.0.1:0"], "admin": ""}
        settings = load(overrides={"server": server, "routes": {"a": route}}, use_file=False)
        app = App(settings, Log(io.StringIO(), "json"))
        await app.start()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        try:
            async with httpx.AsyncClient(base_url=app.addresses[0], limits=limits, timeout=60) as client:
                yield client, app
        finally:
            await app.aclose()


LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def run(loop: Loop, work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(whole())


@LOOPS
@pytest.mark.parametrize("url", ["", "other"])
def test_parallel_handshakes_do_not_mix(loop: Loop, url: str) -> None:
    async def work() -> None:
        play = Bound()
        async with proxied(play, {"url": url}) as (client, _):

            async def one(number: int) -> tuple[int, str]:
                response = await client.post("/x", content=f"body {number}")
                return response.status_code, response.text

            for _ in range(2):
                got = await asyncio.gather(*(one(number) for number in range(PARALLEL)))
                assert got == [(200, f"body {number}") for number in range(PARALLEL)]
            assert play.aside == (2 * PARALLEL if url else 0)
            # Three requests each, and what was used once is used again.
            assert sum(map(len, play.requests)) == 3 * 2 * PARALLEL
            assert len(play.requests) <= PARALLEL

    run(loop, work)


@LOOPS
def test_a_connection_that_was_closed_within_a_handshake_is_replaced(loop: Loop) -> None:
    async def work() -> None:
        play = Bound()
        play.closes = True
        async with proxied(play, {"url": "other"}) as (client, _):
            response = await client.get("/x")
            assert response.status_code == 401  # by the upstream: it has forgotten its challenge
            assert [each[0][:10] for each in play.requests] == ["", "NTLM type3"]

    run(loop, work)


@LOOPS
def test_a_flow_that_fails_or_is_cancelled_gives_its_connection_back(loop: Loop) -> None:
    async def work() -> None:
        play = Bound()
        async with proxied(play, {"fault": "third-party code"}) as (client, app):
            for _ in range(5):
                assert (await client.get("/x")).status_code == 401
            assert len(play.requests) == 1
            transport: Any = app._now.gateway.table.routes[0].exchange.upstream._transport  # Any: ours
            assert (transport.open, transport.idle) == (1, 1)
            waiting = [asyncio.ensure_future(client.get("/x")) for _ in range(20)]
            while len(play.requests) < 5:
                await asyncio.sleep(0.001)
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            while transport.open != transport.idle:
                await asyncio.sleep(0.001)
            assert (await client.get("/x")).status_code == 401

    run(loop, work)
