"""Clients that go away, at every moment: the request ends upstream within a second, and nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Running, Start
from tests.journeys.wires import PATIENCE, Api, Line, Message, answer, chunked

GONE = int(os.environ.get("COUNTERSIGN_GONE", "21"))
UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
)  # fmt: skip
MOMENTS = {
    "upload": ("POST", "Content-Length: 99999"),
    "wait": ("GET",),
    "download": ("GET",),
    "events": ("GET",),
    "socket": ("GET", *UPGRADE),
    "throttle": ("GET",),
    "renewal": ("GET",),
}


class World:
    """An API that leaves everything half done, and waits until nobody wants it any more.

    Attributes:
        came: how many requests are as far as they can be.
        slowest: seconds that it took until one was known to be unwanted.

    """

    early = True  # as `wires.early` marks

    def __init__(self, api: Api) -> None:
        api.always = self
        self.came = self.over = 0
        self.left = 0.0  # monotonic seconds, when the client went away
        self.slowest = 0.0
        self.go_on = asyncio.Event()

    async def __call__(self, message: Message, line: Line) -> None:
        kind = message.target.rpartition(b"/")[2].decode()
        if kind == "token":
            await self._token(message, line)
        elif kind == "throttle":
            await line.send(answer(429, b"", "Retry-After: 1", "Connection: close"))
            line.close()
            self.came += 1
        elif kind == "renewal":
            await line.send(answer(200))
        else:
            await self._half(kind, line)

    async def _half(self, kind: str, line: Line) -> None:
        if kind == "upload":
            await line.exactly(1000)
        elif kind == "download":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", bytes(1000))
        elif kind == "events":
            await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunked(b"data: 1\n\n")[:-5])
        elif kind == "socket":
            await line.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhi")
        self.came += 1
        await line.rest()
        self.slowest = max(self.slowest, time.monotonic() - self.left)
        self.over += 1
        line.close()

    async def _token(self, message: Message, line: Line) -> None:
        await line.exactly(int(message.get("Content-Length") or 0))
        self.came += 1
        await self.go_on.wait()
        token = {"access_token": f"t{self.came}", "token_type": "Bearer", "expires_in": 3600}
        await line.send(answer(200, json.dumps(token).encode(), "Content-Type: application/json", "Connection: close"))
        line.close()
        self.over += 1


async def serve(start: Start, api: Api, rounds: int) -> Running:
    """A proxy with routes of its own for who would hinder others: at a 429, and in a renewal that comes once only."""
    oauth2 = {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"{api.url}/token", "client_id": "me",
        "client_secret": "hush-hush",
    }  # fmt: skip
    routes: dict[str, dict[str, object]] = {"plain": {"prefix": "/", "upstream": api.url}}
    for number in range(rounds):
        routes[f"t{number}"] = {"prefix": f"/throttle{number}", "upstream": api.url}
        routes[f"r{number}"] = {"prefix": f"/renewal{number}", "upstream": api.url, "credential": oauth2}
    return await start({"routes": routes, "limits": {"replay_memory": "1KiB"}})


async def leave(world: World, proxy: Running, moment: str, number: int) -> None:
    """Come as far as that moment, and go away: in turn with a reset and with an end."""
    line = Line(*await asyncio.open_connection("127.0.0.1", proxy.port))
    prefix = f"/{moment}{number}" if moment in ("throttle", "renewal") else ""
    method, *fields = MOMENTS[moment]
    came, over = world.came, world.over
    head = "\r\n".join([f"{method} {prefix}/{moment} HTTP/1.1", "Host: localhost", *fields])
    await line.send(head.encode() + b"\r\n\r\n" + (bytes(1000) if moment == "upload" else b""))
    async with asyncio.timeout(PATIENCE):
        while world.came == came:
            await asyncio.sleep(0.001)
        world.left = time.monotonic()
        if number % 2:
            line.reset()
        else:
            line.close()
        if moment == "renewal":
            world.go_on.set()
        while world.over == over and moment != "throttle":
            await asyncio.sleep(0.001)
    world.go_on.clear()


def left_over() -> tuple[int, int]:
    """How many tasks and descriptors there are."""
    gc.collect()
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
async def test_clients_that_go_away_at_any_moment_leave_nothing_behind(start: Start, api: Api) -> None:
    world = World(api)
    rounds = -(-GONE // len(MOMENTS)) + 1
    proxy = await serve(start, api, rounds)
    for moment in MOMENTS:  # what is opened once, and stays
        await leave(world, proxy, moment, 0)
    while proxy.app.busy:
        await asyncio.sleep(0.01)
    before = left_over()
    for number in range(1, rounds):
        for moment in MOMENTS:
            await leave(world, proxy, moment, number)
    assert world.slowest < 1
    async with asyncio.timeout(PATIENCE):
        # A gate that is closed has a task that opens it.
        while proxy.app.busy or any(now > then for now, then in zip(left_over(), before, strict=True)):
            await asyncio.sleep(0.05)
    assert "unexpected" not in proxy.lines
