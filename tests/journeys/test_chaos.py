"""Many requests over networks that break, on both sides: right answers and clean errors, and nothing is left behind.

``COUNTERSIGN_CHAOS=20000`` asks for more of them, ``COUNTERSIGN_SEED=7`` for others.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trustme

from proxy.transport.http2 import HTTP2Transport
from tests.conftest import Running, Start
from tests.http2 import Receive, Scope, Send, body_of, http2_server
from tests.journeys.wires import PATIENCE, Api, Line, Message, chunked, slices
from tests.leftovers import COUNTABLE, Held, at_most
from tests.relay import Relay, seeded

# Read here: no test sees the machine's variables.
ASKED = int(os.environ.get("COUNTERSIGN_CHAOS", "400")) // 3
SEED = int(os.environ.get("COUNTERSIGN_SEED", "1"))
CLIENTS = 16
FAULTS = {502, 503, 504}
UNFINISHED = {400, 408}  # of a request of which the client's network has lost the end
LARGE = 1 << 19


def content(number: int) -> bytes:
    """The body of a request or an answer, which nothing else has a piece of."""
    size = LARGE if number % 50 == 1 else int(50_000 ** Random(number).random())
    return (hashlib.sha256(b"%d" % number).digest() * (size // 32 + 1))[:size]


class Bank(Api):
    """Answers ``/down/NUMBER`` and takes ``/up/NUMBER``, each number in a framing of its own.

    Attributes:
        taken: how often each number was executed.
        wrong: numbers whose body was complete and not what was sent.

    """

    def __init__(self, *, tls: bool) -> None:
        super().__init__()
        self.always = self._speak
        self.taken: Counter[int] = Counter()
        self.wrong: list[int] = []
        # What ends with its connection may end anywhere, but in TLS.
        self._framings = [_with_length, _in_chunks, _as_events, _until_the_end if tls else _with_length]

    def answer(self, target: bytes, sent: bytes) -> tuple[int, bytes]:
        """Execute a request; return its number and what is answered."""
        _, way, digits = target.split(b"/")
        number = int(digits)
        body = content(number)
        if way == b"up":
            self.taken[number] += 1
            if sent != body:
                self.wrong.append(number)
            body = hashlib.sha256(sent).hexdigest().encode()
        return number, body

    async def _speak(self, message: Message, line: Line) -> None:
        self.messages.clear()
        line.forget()
        number, body = self.answer(message.target, message.body)
        await self._framings[number % 4](line, body)

    async def over_http2(self, scope: Scope, receive: Receive, send: Send) -> None:
        _, body = self.answer(scope["raw_path"], await body_of(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in slices(body, 4096):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _with_length(line: Line, body: bytes) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def _in_chunks(line: Line, body: bytes) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*slices(body, 4096)))


async def _as_events(line: Line, body: bytes) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in slices(body, len(body) // 5 + 1):
        await line.send(chunked(piece).removesuffix(b"0\r\n\r\n"))
        await asyncio.sleep(0.002)
    await line.send(b"0\r\n\r\n")


async def _until_the_end(line: Line, body: bytes) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
    line.close()


async def one(client: httpx.AsyncClient, number: int) -> str:
    """Ask once, check what came, and say what that was."""
    method = ("GET", "POST", "PUT")[number % 3]
    way = "down" if method == "GET" else "up"
    body = content(number)
    right = body if way == "down" else hashlib.sha256(body).hexdigest().encode()

    async def streamed() -> AsyncIterator[bytes]:
        for piece in slices(body, 16_384):
            yield piece

    sent = None if way == "down" else streamed() if number % 5 == 0 else body
    try:
        answer = await client.request(method, f"/{way}/{number}", content=sent)
    except (httpx.RemoteProtocolError, httpx.NetworkError):
        return "cut"
    if answer.status_code in FAULTS | UNFINISHED:
        assert answer.json()["status"] == answer.status_code
        return "fault" if answer.status_code in FAULTS else "unfinished"
    assert answer.status_code == 200, answer.text
    assert answer.content == right, number
    return "right"


async def crowd(url: str) -> Counter[str]:
    """Ask for everything, many at a time; count what comes of it."""
    numbers = iter(range(ASKED))
    seen: Counter[str] = Counter()

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client:
            for number in numbers:
                seen[await one(client, number)] += 1

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(ask())
    return seen


def pooled(running: Running) -> tuple[int, int]:
    """Connections to the API, and those of them that are idle."""
    made: Any = running.app._now.gateway.table.routes[0].exchange.upstream._transport  # Any: ours, but which?
    return made.open, made.open if isinstance(made, HTTP2Transport) else made.idle


async def settles(condition: Callable[[], Any], wanted: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while condition() != wanted:
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not COUNTABLE, reason="counts descriptors in /proc")
@pytest.mark.parametrize("scheme", ["http", "https", "http2"])
async def test_chaos_harms_no_answer_and_leaves_nothing_behind(start: Start, tmp_path: Path, scheme: str) -> None:
    alone = Held.now()
    async with AsyncExitStack() as world:
        bank = await world.enter_async_context(Bank(tls=scheme == "https"))
        port, tls = bank.port, {}
        if scheme != "http":
            port = await secured(bank, world, tmp_path, http2=scheme == "http2")
            tls = {"tls": {"ca": str(tmp_path / "ca.pem")}, "http2": scheme == "http2"}
        network = Relay(port, seeded(SEED, 0.3, ends=("reset", "close", "half-close", "hang")))
        await world.enter_async_context(network)
        origin = f"{'http' if scheme == 'http' else 'https'}://localhost:{network.port}"
        before = Held.now()
        running = await serving(start, {"upstream": origin, **tls})
        own = Held.now() - before
        async with Relay(running.port, seeded(SEED + 1, 0.1)) as neighbourhood:
            seen = await crowd(neighbourhood.url)
        await settles(lambda: running.app.busy, 0)
        opened, idle = pooled(running)
        assert opened == idle
    assert seen.total() == ASKED
    assert seen["right"] > 0.8 * ASKED
    assert bank.wrong == []
    assert [number for number, times in bank.taken.items() if number % 3 == 1 and times > 1] == []
    assert '"level": "error"' not in running.lines
    async with httpx.AsyncClient(trust_env=False) as client:
        # httpx's connections learn of their end when they are used again.
        assert (await client.get(running.url)).status_code == 502
    await settles(lambda: pooled(running), (0, 0))
    await at_most(alone + own, PATIENCE)


async def serving(start: Start, route: dict[str, Any]) -> Running:
    """Serve with little patience."""
    table = {"retry": {"backoff": "2ms", "budget": 1.0}, "timeout": {"read": 0.2, "connect": 0.2}}
    return await start({**table, "server": {"body_timeout": "2s"}, "routes": {"api": {"prefix": "/", **route}}})


async def secured(bank: Bank, world: AsyncExitStack, directory: Path, *, http2: bool) -> int:
    """Have TLS before it; return the port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    if http2:
        return await world.enter_async_context(
            http2_server(bank.over_http2, directory, authority.issue_cert("localhost"))
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # handshakes that failed
    server = await asyncio.start_server(bank._connected, "127.0.0.1", 0, ssl=context)
    world.callback(server.close)
    world.callback(bank.lines.clear)  # asyncio's TLS transports can't be asked for their socket afterwards
    port: int = server.sockets[0].getsockname()[1]
    return port
