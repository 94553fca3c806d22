"""Clients that go away, at every moment: the request ends upstream within a second, and nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict

import pytest

from tests.conftest import Running, Start
from tests.journeys.wires import PATIENCE, Api, Line, Message, answer, chunked
from tests.leftovers import Held, at_most

GONE = int(os.environ.get("COUNTERSIGN_GONE", "270"))
AT_ONCE = 15  # of each moment
UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)  # fmt: skip
# What the API knows of, and sees the end of.
ASKED = {
    "upload": ("POST", "Content-Length: 99999"),
    "wait": ("GET",),
    "download": ("GET",),
    "events": ("GET",),
    "socket": ("GET", *UPGRADE),
    "backoff": ("GET",),
}
# Where clients wait for each other, and the API knows of one of them at most.
KEPT = ("throttle", "queue")
KEPT_BODY = 2000  # bytes: more than are kept in memory, so that there is a file


class World:
    """An API that leaves everything half done, and waits until nobody wants it any more.

    Attributes:
        came: of each request, whether it is as far as it can be.
        over: and whether the API has seen its end.
        slowest: seconds that it took until one was known to be unwanted.
        left: monotonic seconds, when the client of each went away.
        tokens: how many were fetched.

    """

    early = True  # as `wires.early` marks

    def __init__(self, api: Api) -> None:
        api.always = self
        self.came: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.over: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.left: dict[str, float] = {}
        self.slowest = 0.0
        self.tokens = 0
        self.go_on = asyncio.Event()

    async def __call__(self, message: Message, line: Line) -> None:
        name = message.target.rpartition(b"/")[2].decode()
        kind = name.partition("-")[0]
        if kind == "token":
            await self._token(message, line)
        elif kind == "throttle":
            await line.send(answer(429, b"", "Retry-After: 2", "Connection: close"))
            line.close()
        elif kind == "backoff":
            await line.send(answer(503, b"", "Connection: close"))
            line.close()
            self.came[name].set()
            self.over[name].set()
        elif kind == "renewal":
            await line.send(answer(200, message.get("Authorization") or b"", "Connection: close"))
            line.close()
        else:
            await self._half(kind, name, line)

    async def _half(self, kind: str, name: str, line: Line) -> None:
        if kind == "upload":
            await line.exactly(KEPT_BODY)
        elif kind == "download":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", bytes(1000))
        elif kind == "events":
            await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"data: 1\n\n")[:-5])
        elif kind == "socket":
            await line.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
        self.came[name].set()
        await line.rest()
        self.slowest = max(self.slowest, time.monotonic() - self.left[name])
        self.over[name].set()
        line.close()

    async def _token(self, message: Message, line: Line) -> None:
        await line.exactly(int(message.get("Content-Length") or 0))
        self.tokens += 1
        await self.go_on.wait()
        token = {"access_token": f"t{self.tokens}", "token_type": "Bearer", "expires_in": 3600}
        await line.send(answer(200, json.dumps(token).encode(), "Content-Type: application/json", "Connection: close"))
        line.close()


async def serve(start: Start, api: Api) -> Running:
    """A proxy with routes of its own for who would hinder others."""
    oauth2 = {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"{api.url}/token", "client_id": "me",
        "client_secret": "hush-hush",
    }  # fmt: skip
    routes: dict[str, dict[str, object]] = {
        "plain": {"prefix": "/"},
        "backoff": {"prefix": "/backoff", "retry": {"backoff": "25s"}},
        "throttle": {"prefix": "/throttle"},
        "renewal": {"prefix": "/renewal", "credential": oauth2},
        "queue": {"prefix": "/queue", "limits": {"concurrency": 1}},
    }
    for route in routes.values():
        route["upstream"] = api.url
    return await start({"routes": routes, "limits": {"replay_memory": "1KiB"}})


class Crowd:
    """Those who come as far as a moment, and go away: in turn with a reset and with an end."""

    def __init__(self, world: World, proxy: Running) -> None:
        self.world = world
        self.proxy = proxy

    async def ask(self, name: str) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", self.proxy.port))
        moment = name.partition("-")[0]
        method, *fields = ASKED.get(moment, ("GET",))
        prefix = f"/{moment}" if moment in (*KEPT, "backoff", "renewal") else ""
        head = "\r\n".join([f"{method} {prefix}/{name} HTTP/1.1", "Host: localhost", *fields])
        await line.send(head.encode() + b"\r\n\r\n" + (bytes(KEPT_BODY) if moment == "upload" else b""))
        return line

    def leave(self, name: str, line: Line) -> None:
        self.world.left[name] = time.monotonic()
        if int(name.partition("-")[2]) % 2:
            line.reset()
        else:
            line.close()

    async def one(self, name: str) -> None:
        line = await self.ask(name)
        await self.world.came[name].wait()
        self.leave(name, line)
        await self.world.over[name].wait()

    async def asked(self, moment: str, numbers: range) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*[self.one(f"{moment}-{number}") for number in numbers])

    async def kept(self, moment: str, numbers: range) -> None:
        """As `asked`, but there is one of them at least that the API has not answered."""
        names = [f"{moment}-{number}" for number in numbers]
        lines = [await self.ask(name) for name in names]
        await self.busy(len(names))
        for name, line in zip(names, lines, strict=True):
            self.leave(name, line)
        await self.busy(0)

    async def busy(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.proxy.app.busy != count:
                await asyncio.sleep(0.001)


def batches(first: int, count: int) -> list[range]:
    return [range(at, min(at + AT_ONCE, first + count)) for at in range(first, first + count, AT_ONCE)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
async def test_clients_that_go_away_at_any_moment_leave_nothing_behind(start: Start, api: Api) -> None:
    world = World(api)
    proxy = await serve(start, api)
    crowd = Crowd(world, proxy)
    for moment in ASKED:  # what is opened once, and stays
        await crowd.asked(moment, range(2))
    await crowd.busy(0)
    before = Held.now()
    each = -(-GONE // (len(ASKED) + len(KEPT) + 1))
    for numbers in batches(2, each):
        await asyncio.gather(*[crowd.asked(moment, numbers) for moment in ASKED])
        for moment in KEPT:
            await crowd.kept(moment, numbers)
    assert world.slowest < 1

    # They all wait for one token, which is fetched to its end though nobody waits any more.
    await crowd.kept("renewal", range(2, 2 + each))
    assert world.tokens == 1
    world.go_on.set()
    last = await crowd.ask("renewal-0")
    assert (await last.answer()).body == b"Bearer t1"
    last.close()
    await crowd.busy(0)
    await at_most(before, PATIENCE)  # a gate that is closed has a task that opens it
    assert "unexpected" not in proxy.lines
