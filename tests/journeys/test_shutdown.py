"""The end of the process with many requests in flight: who finishes, who is told, and that nobody new comes in."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.processes import Process, Run, page
from tests.journeys.wires import Api, Line, Message, answer, chunked

HALF = os.urandom(1 << 15)
BODY = HALF + HALF[::-1]
PIECES = (b"data: 1\n\n", b"data: 2\n\n")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
PLENTY = {"uploads": 40, "chunks": 20, "downloads": 40, "events": 40, "waits": 57}


def head(target: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *fields]).encode() + b"\r\n\r\n"


class World:
    """An API that stops halfway, whatever it is asked for, until it is told to go on.

    Attributes:
        go_on: when set, everything comes to its end.
        halfway: how many requests have come as far as they can.

    """

    early = True  # as `wires.early` marks: it reads bodies itself

    def __init__(self, api: Api) -> None:
        self.api = api
        self.go_on = asyncio.Event()
        self.halfway = 0
        self._throttled = False
        api.always = self

    async def __call__(self, message: Message, line: Line) -> None:
        kind = message.target.split(b"/")[-1].decode()
        await getattr(self, f"_{kind}")(message, line)

    async def _stop(self) -> None:
        self.halfway += 1
        await self.go_on.wait()

    async def _uploads(self, _: Message, line: Line) -> None:
        data = await line.exactly(len(HALF))
        await self._stop()
        data += await line.exactly(len(HALF))
        await line.send(answer(200, data[::-1]))

    async def _chunks(self, _: Message, line: Line) -> None:
        self.halfway += 1
        await line.send(answer(200, (await line.chunks())[::-1]))

    async def _downloads(self, _: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY), HALF)
        await self._stop()
        await line.send(BODY[len(HALF) :])

    async def _events(self, _: Message, line: Line) -> None:
        first, second = PIECES
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await line.send(chunked(first).removesuffix(b"0\r\n\r\n"))
        await self._stop()
        await line.send(chunked(second))

    async def _waits(self, _: Message, line: Line) -> None:
        await self._stop()
        await line.send(answer(200, b"at last"))

    async def _throttle(self, _: Message, line: Line) -> None:
        if self._throttled:
            await line.send(answer(200, b"at last"))
        else:
            self._throttled = True
            self.halfway += 1
            await line.send(answer(429, b"", "Retry-After: 1"))

    async def _token(self, message: Message, line: Line) -> None:
        await line.exactly(int(message.get("Content-Length") or 0))
        await self._stop()
        token = {"access_token": "new", "token_type": "Bearer", "expires_in": 3600}
        await line.send(answer(200, json.dumps(token).encode(), "Content-Type: application/json"))

    async def _renews(self, message: Message, line: Line) -> None:
        assert message.get("Authorization") == b"Bearer new"
        await line.send(answer(200, b"at last"))

    async def _socket(self, _: Message, line: Line) -> None:
        await line.send(SWITCH, b"hello")
        await self._stop()
        await line.send((await line.exactly(4))[::-1])
        line.close()


Client = Callable[[Line], Coroutine[Any, Any, None]]  # Any: what it yields and is sent

# -- clients ---------------------------------------------------------------------------------------------


async def upload(line: Line) -> None:
    fields = (f"Content-Length: {len(BODY)}", "Content-Type: text/plain")
    await line.send(head("/plain/uploads", *fields, method="POST"), HALF)
    await go(line)
    await line.send(BODY[len(HALF) :])
    assert (await line.answer()).body == BODY[::-1]


async def upload_in_chunks(line: Line) -> None:
    await line.send(head("/plain/chunks", "Transfer-Encoding: chunked", method="PUT"), chunked(HALF)[:-5])
    await go(line)
    await line.send(chunked(BODY[len(HALF) :]))
    assert (await line.answer()).body == BODY[::-1]


async def download(line: Line) -> None:
    await line.send(head("/plain/downloads"))
    assert (await line.answer()).body == BODY


async def follow(line: Line) -> None:
    await line.send(head("/plain/events"))
    assert (await line.answer()).body == b"".join(PIECES)


def hopeful(target: str) -> Client:
    async def wait(line: Line) -> None:
        await line.send(head(target))
        seen = await line.answer()
        assert (seen.status, seen.body, seen.get("Connection")) == (200, b"at last", b"close")
        assert await line.rest() == b""

    return wait


async def slow_head(line: Line) -> None:
    whole = head("/plain/waits")
    await line.send(whole[:9])
    await go(line)
    await line.send(whole[9:])
    assert (await line.answer()).body == b"at last"


async def talk(line: Line) -> None:
    key = base64.b64encode(bytes(16)).decode()
    fields = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
    await line.send(head("/plain/socket", *fields))
    assert (await line.answer()).status == 101
    assert await line.exactly(5) == b"hello"
    await go(line)
    await line.send(b"ping")
    assert await line.rest() == b"gnip"


async def go(line: Line) -> None:
    """Wait until the proxy has begun to stop."""
    await line.go_on.wait()  # type: ignore[attr-defined]  # ours, see `begin`


CLIENTS: list[tuple[Client, int]] = [
    (upload, PLENTY["uploads"]), (upload_in_chunks, PLENTY["chunks"]), (download, PLENTY["downloads"]),
    (follow, PLENTY["events"]), (hopeful("/plain/waits"), PLENTY["waits"]), (hopeful("/slow/throttle"), 1),
    (hopeful("/renewing/renews"), 1), (talk, 1),
    (slow_head, 1),
]  # fmt: skip


async def serve(run: Run, api: Api, tmp_path: Path, server: str, credential: str = "") -> Process:
    file = tmp_path / "c.toml"
    oauth2 = (
        f'{{ type = "oauth2", grant = "client_credentials", token_url = "{api.url}/token", '
        'client_id = "me", client_secret = "a-secret" }'
    )
    file.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\n{server}\n[tokens]\nstore = "memory"\n'
        + "".join(
            f'[routes.{name}]\nprefix = "/{name}"\nupstream = "{api.url}"\n' for name in ("plain", "slow", "renewing")
        )
        + f"credential = {credential or oauth2}\n"
    )
    file.chmod(0o600)
    return await run("run", "--config", str(file), "--no-access-log")


async def begin(process: Process, world: World, port: int) -> list[asyncio.Task[None]]:
    """Have all of `CLIENTS` come as far as they can."""
    tasks = []
    for client, count in CLIENTS:
        for _ in range(count):
            line = await process.connect(port)
            line.go_on = world.go_on  # type: ignore[attr-defined]  # for `go`
            tasks.append(asyncio.create_task(client(line)))
    heads = 1  # are not complete
    await world.api.came(lambda: world.halfway == len(tasks) - heads or any(task.done() for task in tasks))
    return tasks


@pytest.mark.parametrize(("workers", "number"), [(1, signal.SIGTERM), (2, signal.SIGINT)])
async def test_two_hundred_requests_in_flight_all_come_to_their_end(
    run: Run, api: Api, tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    world = World(api)
    process = await serve(run, api, tmp_path, f"workers = {workers}")
    port = await process.port()
    admin, _ = await process.admin()
    idle = await process.connect(port)
    tasks = await begin(process, world, port)
    assert len(tasks) >= 200
    process.signal(number)
    await process.says("stopping")
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await process.connect(port)
    told = await process.ask(page("/readyz"), admin)
    assert (told.status, json.loads(told.body)["stopping"]) == (503, True)
    world.go_on.set()
    await asyncio.gather(*tasks)
    assert await process.ends() == 0


async def test_what_can_t_come_to_its_end_is_ended_with_the_grace_and_never_looks_complete(
    run: Run, api: Api, tmp_path: Path
) -> None:
    world = World(api)
    process = await serve(run, api, tmp_path, 'shutdown_grace = "300ms"')
    port = await process.port()
    requests = [
        *(head(target) for target in ("/plain/waits", "/slow/throttle", "/renewing/renews")),
        head("/plain/uploads", f"Content-Length: {len(BODY)}", method="PUT") + HALF,
    ]
    hopeless = [await process.connect(port) for _ in requests]
    for line, request in zip(hopeless, requests, strict=True):
        await line.send(request)
    cut = [await process.connect(port) for _ in range(3)]
    for line, target in zip(cut, ("downloads", "events", "events"), strict=True):
        await line.send(head(f"/plain/{target}"))
    await cut[2].until(b"data: 1")
    old = await process.connect(port)
    await old.send(head("/plain/events").replace(b"HTTP/1.1", b"HTTP/1.0"))
    await old.until(b"data: 1")
    await api.came(lambda: world.halfway == 8)
    process.signal(signal.SIGTERM)
    for line in hopeless:
        seen = await line.answer()
        assert (seen.status, seen.error) == (503, "destination_unavailable")
    for line in cut:
        await line.rest()
        assert line.was_reset
        assert not line.received.endswith(b"0\r\n\r\n")
    await old.rest()
    assert old.was_reset  # its end is told by nothing else
    assert await process.ends() == 0


async def test_a_second_signal_waits_for_nothing_not_even_for_a_thread(run: Run, api: Api, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(
        "import sys, time, httpx\nclass Sleepy(httpx.Auth):\n  def auth_flow(self, request):\n"
        "    print('asleep', file=sys.stderr, flush=True)\n    time.sleep(60)\n    yield request\n"
    )
    process = await serve(run, api, tmp_path, "workers = 1", '{ type = "python", class = "sleepy:Sleepy" }')
    client = await process.connect(await process.port())
    await client.send(head("/renewing/waits"))
    await process.says("asleep")
    process.signal(signal.SIGTERM)
    await process.says("stopping")
    process.signal(signal.SIGTERM)
    second = time.monotonic()
    assert await process.ends() == 0
    assert time.monotonic() - second < 8


@pytest.mark.parametrize("workers", [1, 2])
async def test_signals_after_the_first_one_never_kill_it(run: Run, api: Api, tmp_path: Path, workers: int) -> None:
    """Before the drain, in it, while the loop closes and while Python does: whenever they come, it ends well."""
    pauses = [pause / 1000 for pause in range(0, 40, 4 * workers)]
    for number, pause in enumerate(pauses):
        process = await serve(run, api, tmp_path, f"workers = {workers}")
        await process.port()
        process.signal(signal.SIGINT if number % 2 else signal.SIGTERM)
        await asyncio.sleep(pause)
        while process.process.returncode is None:
            with suppress(ProcessLookupError):
                # Not by the subprocess module: it would wait for the process itself, and take its exit code.
                os.kill(process.process.pid, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[number % 3])
            await asyncio.sleep(0.002)
        assert await process.ends() == 0
