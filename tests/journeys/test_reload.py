"""SIGHUP under load: clients that keep their connections notice nothing, whatever the new configuration says."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.journeys.processes import ADMIN, Process, Run, page
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


async def status(process: Process) -> Any:
    port, token = await process.admin()
    return json.loads((await process.ask(page("/api/status", f"Authorization: Bearer {token}"), port)).body)


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


@pytest.mark.parametrize("workers", [1, 2])
async def test_nothing_of_a_broken_configuration_takes_effect(run: Run, api: Api, tmp_path: Path, workers: int) -> None:
    api.always = echo
    dotenv, config, added = tmp_path / ".env", tmp_path / "c.toml", tmp_path / "added.sock"

    def write(token: str, more: str = "", *listen: str) -> None:
        dotenv.write_text(token)
        config.write_text(
            f"[server]\nworkers = {workers}\nlisten = {json.dumps(['127.0.0.1:0', *listen])}\n"
            '[tokens]\nstore = "memory"\n'
            f'[routes.kept]\nprefix = "/kept"\nupstream = "{api.url}"\n'
            f'credential = {{ type = "bearer", token = {{ env = "OF_FILE" }} }}\n{more}'
        )

    write("OF_FILE=old\n")
    process = await run("run", "--config", str(config), "--no-access-log", env={"LET_IN": "x", **ADMIN})
    port = await process.port()
    await process.says("status page")
    broken = [
        ("is not TOML", "", "[routes.kept]\n"),
        ("routes.kept.tls", 'OTHER="x"', 'tls = { ca = "/nowhere.pem" }\n'),
        ("tokens.key", "OF_FILE=new\n", '[tokens]\nkey = { env = "NOT_THERE" }\n'),
        ("is in use by another program", "OF_FILE=new\n", ""),
    ]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for number, (words, variables, more) in enumerate(broken):
            section, _, line = more.partition("\n")
            write(variables, "" if line else more, f"unix:{added}", *taken_address(taken, words))
            if line:
                config.write_text(config.read_text().replace(section, more.strip(), 1))
            process.signal(signal.SIGHUP)
            await process.says(rf"(?s)(reload failed.*){{{number}}}reload failed[^\n]*{words}")
            seen = await process.ask(REQUESTS[0], port)
            assert (seen.status, seen.get("X-Seen")) == (200, b"Bearer old")
            assert not added.exists()
            assert (await status(process))["reload"].startswith("failed: ")
    write("OF_FILE=new\n", "", f"unix:{added}")
    await reloaded(process, 1)
    assert (await process.ask(REQUESTS[0], port)).get("X-Seen") == b"Bearer new"
    assert added.exists()
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_secrets_that_are_missing_after_a_reload_are_told(
    run: Run, api: Api, tmp_path: Path, workers: int
) -> None:
    config, dotenv = tmp_path / "c.toml", tmp_path / ".env"

    def write(variable: str) -> None:
        config.write_text(
            f'[server]\nworkers = {workers}\nlisten = "127.0.0.1:0"\n[tokens]\nstore = "memory"\n'
            f'[routes.a]\nupstream = "{api.url}"\n'
            f'credential = {{ type = "bearer", token = {{ env = "{variable}" }} }}\n'
        )

    write("LET_IN")
    process = await run("run", "--config", str(config), env={"LET_IN": "x"})
    await process.says("status page")
    assert "is not set" not in process.said
    write("NOT_THERE")
    dotenv.write_text("NOT A LINE\n")
    process.signal(signal.SIGHUP)
    await process.says(r"routes\.a\.credential\.token: the environment variable NOT_THERE is not set")
    await process.says(r"\.env:1: is ignored; expected NAME=VALUE")
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert process.said.count("NOT_THERE is not set") == 1


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_file_that_hangs_at_a_reload_holds_nothing_up(run: Run, api: Api, tmp_path: Path, workers: int) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[server]\nworkers = {workers}\nlisten = ["127.0.0.1:0"]\n[routes.a]\nupstream = "{api.url}"\n')
    process = await run("run", "--config", str(file), env=ADMIN)
    port = await process.port()
    await process.says("status page")
    file.unlink()
    os.mkfifo(file, 0o600)
    process.signal(signal.SIGHUP)
    for _ in range(4):
        await asyncio.sleep(0.05)  # the signal arrives at some time; all of this holds before and after
        assert (await process.ask(port=port)).status == 200
        assert await status(process)
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


def taken_address(taken: socket.socket, words: str) -> list[str]:
    return [f"127.0.0.1:{taken.getsockname()[1]}"] if "in use" in words else []


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_says_what_it_changes_and_what_it_can_t(
    run: Run, api: Api, tmp_path: Path, workers: int
) -> None:
    file = File(tmp_path / "c.toml", api, workers)
    file.write(0)
    process = await run("run", "--config", str(tmp_path / "c.toml"), "--no-access-log", env=ADMIN)
    await process.says("status page")
    assert (await status(process))["reload"] is None
    socket_path = tmp_path / "x.sock"
    file.write(1, f"unix:{socket_path}", server="dumpable = true")
    text = (tmp_path / "c.toml").read_text()
    (tmp_path / "c.toml").write_text(text.replace(f"workers = {workers}", "workers = 3"))
    process.signal(signal.SIGHUP)
    event = json.loads((await process.says(r'[^\n]*"reloaded"[^\n]*'))[0])
    del event["time"]
    assert event == {
        "level": "warning", "event": "reloaded", "routes": 2, "routes_added": "n1", "routes_removed": "n0",
        "routes_changed": "kept", "addresses_opened": f"unix:{socket_path}",
        "needs_restart": "server.workers, server.dumpable",
    }  # fmt: skip
    assert (await status(process))["reload"] == "done; needs a restart: server.workers, server.dumpable"
    file.write(1)
    process.signal(signal.SIGHUP)
    event = json.loads((await process.says(r'(?s)"reloaded".*\n([^\n]*"reloaded"[^\n]*)'))[1])
    del event["time"]
    assert event == {
        "level": "info", "event": "reloaded", "routes": 2, "addresses_closed": f"unix:{socket_path}",
    }  # fmt: skip
    assert (await status(process))["reload"] == "done"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prlimit(2)")
@pytest.mark.parametrize("workers", [1, 2])
async def test_out_of_descriptors_at_any_step_it_serves_on_and_reloads_later(
    run: Run, api: Api, tmp_path: Path, workers: int
) -> None:
    api.always = echo
    file = File(tmp_path / "c.toml", api, workers)
    others = [free_port() for _ in range(2)]
    file.write(0)
    process = await run("run", "--config", str(tmp_path / "c.toml"), "--no-access-log", env=ADMIN)
    port = await process.port()
    await process.says("status page")
    said = []
    for spare in range(0, 60, 3 * workers):
        file.write(1 + spare % 2, *(f"127.0.0.1:{each}" for each in others))
        with few_descriptors(process.process.pid, spare):
            said.append(await outcome(process))
        seen = await process.ask(REQUESTS[0], port)
        assert (seen.status, seen.get("X-Seen")) == (200, b"Bearer secret-0")
        file.write(0)
        assert '"reloaded"' in await outcome(process)
    assert any("Too many open files" in text for text in said)
    assert '"reloaded"' in said[-1]
    assert not any("unexpected exception" in text for text in said)
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


async def outcome(process: Process) -> str:
    """Reload, and return all that is said until its end."""
    process.said = ""
    process.signal(signal.SIGHUP)
    await process.says(r'reload failed|"reloaded"')
    return process.said


@contextmanager
def few_descriptors(parent: int, spare: int) -> Iterator[None]:
    """Leave a process and its children no more than so many."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    before = {}
    for pid in (parent, *map(int, children)):
        with suppress(ProcessLookupError, FileNotFoundError):  # a worker that is leaving
            open_ones = [int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()]
            if open_ones:
                before[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(open_ones) + 1 + spare, before[pid][1]))
    yield
    for pid, limits in before.items():
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
