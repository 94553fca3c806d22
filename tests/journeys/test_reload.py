"""SIGHUP under load: clients that keep their connections notice nothing, whatever the new configuration says."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.journeys.processes import Process, Run
from tests.journeys.wires import PATIENCE, Api, Line, Message, chunked

CLIENTS, RELOADS = 6, 12
BODY = bytes(range(256)) * 400


async def echo(message: Message, line: Line) -> None:
    """Say what came: the body in chunks, and by which credential."""
    fields = b"Transfer-Encoding: chunked\r\nX-Seen: " + (message.get("Authorization") or b"")
    await line.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + chunked(message.body or b"-"))


REQUESTS = [
    b"GET /kept/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /kept/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    b"PUT /kept/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(BODY, BODY),
]
BODIES = [b"-", BODY, BODY + BODY]


class Load:
    """Clients that send one request after the other, each over a connection of its own that it keeps.

    Attributes:
        count: requests that were answered as they should be.
        credentials: those that the API saw.
        wrong: answers that were none of that; a client stops at the first.

    """

    def __init__(self, process: Process, ports: list[int]) -> None:
        self._process, self._ports = process, ports
        self._stopped = False
        self.count = 0
        self.credentials: set[bytes] = set()
        self.wrong: list[object] = []

    async def _client(self, port: int) -> None:
        line = await self._process.connect(port)
        for request, body in cycle(zip(REQUESTS, BODIES, strict=True)):
            if self._stopped or self.wrong:
                return
            try:
                await line.send(request)
                seen = await line.answer()
            except (OSError, asyncio.IncompleteReadError) as failure:
                self.wrong.append(failure)
                return
            line.forget()
            if (seen.status, seen.body) != (200, body) or seen.get("Connection") is not None:
                self.wrong.append((seen.raw, seen.body[:200]))
            self.credentials.add(seen.get("X-Seen") or b"")
            self.count += 1

    async def more(self, count: int = 60) -> None:
        """Wait until so many more have been answered."""
        until = self.count + count
        async with asyncio.timeout(PATIENCE):
            while self.count < until and not self.wrong:
                await asyncio.sleep(0.005)
        assert self.wrong == []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._client(port)) for port in self._ports]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped = True
        await asyncio.gather(*self._tasks)
        assert self.wrong == []


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class File:
    """The configuration, as somebody keeps changing it."""

    def __init__(self, path: Path, api: Api, workers: int) -> None:
        self._path, self._api, self._workers = path, api, workers
        self.secret = path.with_name("secret")
        self.secret.write_text("secret-0")

    def write(self, number: int, *listen: str, more: str = "", server: str = "") -> None:
        listens = json.dumps(["127.0.0.1:0", *listen])
        self._path.write_text(
            f'[server]\nworkers = {self._workers}\nlisten = {listens}\n{server}\n[tokens]\nstore = "memory"\n'
            f'[credentials.c{number}]\ntype = "bearer"\ntoken = {{ file = "{self.secret}" }}\n'
            f'[routes.kept]\nprefix = "/kept"\nupstream = "{self._api.url}"\ncredential = "c{number}"\n'
            f'[routes.n{number}]\nprefix = "/{number}"\nupstream = "{self._api.url}"\ndeny = ["* /**"]\n{more}'
        )


async def reloaded(process: Process, times: int) -> None:
    process.signal(signal.SIGHUP)
    await process.says("(?s)" + '"reloaded".*?' * times)


@pytest.mark.parametrize("workers", [1, 2])
async def test_reloads_under_load_drop_nothing(run: Run, api: Api, tmp_path: Path, workers: int) -> None:
    api.always = echo
    file = File(tmp_path / "c.toml", api, workers)
    other = free_port()
    file.write(0, f"127.0.0.1:{other}")
    process = await run("run", "--config", str(tmp_path / "c.toml"), "--no-access-log")
    port = await process.port()
    await process.says("status page")
    async with Load(process, [port, port, port, port, other, other]) as load:
        await load.more()
        for number in range(1, RELOADS + 1):
            # By a rename and in place; an address that comes and goes: who is connected stays.
            new = file.secret.with_name("new")
            new.write_text(f"secret-{number}")
            if number % 2:
                new.replace(file.secret)
            else:
                file.secret.write_text(f"secret-{number}")
            file.write(number, *[f"127.0.0.1:{other}"] * (number % 2))
            await reloaded(process, number)
            seen = await process.ask(b"GET /%d/x HTTP/1.1\r\nHost: localhost\r\n\r\n" % number, port)
            assert seen.status == 403
            with suppress(ConnectionRefusedError):
                assert number % 2 == 1 or await process.connect(other) is None
            await load.more(30)
        load.credentials.clear()
        await load.more()
        assert load.credentials == {b"Bearer secret-%d" % RELOADS}
    assert '"status": 500' not in process.said


async def test_a_broken_configuration_under_load_is_told_and_nothing_changes(
    run: Run, api: Api, tmp_path: Path
) -> None:
    api.always = echo
    file = File(tmp_path / "c.toml", api, 1)
    file.write(0)
    process = await run("run", "--config", str(tmp_path / "c.toml"), "--no-access-log")
    port = await process.port()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    broken: list[tuple[str, tuple[str, ...], dict[str, str]]] = [
        ("is not TOML", (), {"more": "[routes.kept]\n"}),
        ("routes.new.upstream", (), {"more": '[routes.new]\nupstream = "nonsense"\n'}),
        ("is in use by another program", (f"127.0.0.1:{taken.getsockname()[1]}",), {}),
        ("server.admin_token", (), {"server": 'admin_token = { env = "NOT_THERE" }'}),
    ]
    async with Load(process, [port] * CLIENTS) as load:
        for words, listen, change in broken:
            file.write(0, *listen, **change)
            process.signal(signal.SIGHUP)
            await process.says(rf"reload failed[^\n]*{words}")
            await load.more(30)
    taken.close()
    assert load.credentials == {b"Bearer secret-0"}
