"""What the journeys share: a client, a proxy and an API in one event loop, with real sockets between them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.clock import Clock
from tests.conftest import Running, Start
from tests.journeys.processes import ROOT, Process, Run
from tests.journeys.wires import HEAD as HEAD  # for the journeys
from tests.journeys.wires import Api, Line, Message, Step
from tests.watching import watch

TOKEN = "the-secret-token"
BEARER = {"type": "bearer", "token": TOKEN}


def pytest_asyncio_loop_factories(item: pytest.Function) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Have what is left behind looked for on the loop, too, that serves in processes."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.module.__name__.endswith(("test_gone", "test_crowds", "test_large", "test_hanging")):
        loops["uvloop"] = uvloop.new_event_loop
    return loops


class House:
    """A proxy in front of an API that records, and clients who come to it.

    Attributes:
        api: what the upstream saw, and what it will say.
        proxy: the one between.

    """

    def __init__(self, proxy: Running, api: Api | None = None) -> None:
        self.proxy = proxy
        self._api = api
        self._clients: list[Line] = []

    @property
    def api(self) -> Api:
        assert self._api
        return self._api

    async def connect(self) -> Line:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        line = Line(reader, writer)
        self._clients.append(line)
        return line

    async def ask(self, request: bytes = HEAD, method: str = "GET") -> Message:
        """Answer to a request over a connection of its own."""
        client = await self.connect()
        await client.send(request)
        return await client.answer(method)

    async def aclose(self) -> None:
        for client in self._clients:
            client.reset()
            with suppress(Exception):
                await client.writer.wait_closed()
        if self._api is not None:
            await self._api.__aexit__(None, None, None)


Build = Callable[..., Awaitable[House]]


@pytest.fixture
async def build(start: Start) -> AsyncIterator[Build]:
    """Build houses: ``await build(*script, server=…, clock=…, **route)``."""
    houses: list[House] = []

    async def built(
        *script: Step,
        server: dict[str, Any] | None = None,
        credentials: dict[str, Any] | None = None,
        clock: Clock | None = None,
        path: str = "",
        options: dict[str, Any] | None = None,
        **route: Any,
    ) -> House:
        api = await Api(*script).__aenter__()
        table = {
            "server": server or {},
            "credentials": credentials or {},
            "routes": {"api": {"prefix": "/", "upstream": api.url + path, "credential": BEARER, **route}},
        }
        try:
            proxy = await start(table, clock=clock, **(options or {}))
        except BaseException:
            await api.__aexit__(None, None, None)
            raise
        houses.append(House(proxy, api))
        return houses[-1]

    yield built
    for house in houses:
        await house.aclose()


@pytest.fixture
async def lead(start: Start) -> AsyncIterator[Build]:
    """Build houses without an API: ``await lead(upstream=…, **route)``."""
    houses: list[House] = []

    async def led(server: dict[str, Any] | None = None, **route: Any) -> House:
        table = {"server": server or {}, "routes": {"api": {"prefix": "/", "credential": BEARER, **route}}}
        houses.append(House(await start(table)))
        return houses[-1]

    yield led
    for house in houses:
        await house.aclose()


@pytest.fixture
async def house(build: Build) -> House:
    """The usual one."""
    return await build()


# -- processes -------------------------------------------------------------------------------------------


@pytest.fixture
async def run(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Run]:
    """Run commands: ``await run("run", "--to", …, env={…})``; they end with the test.

    Their coverage is measured where the test's module says ``MEASURED = True``: it doubles the time of a start.

    With ``program``, that is the command, in Python. With ``shell``, that is what starts the command, which it has
    as ``"$0" "$@"``.
    """
    processes: list[Process] = []
    measured = getattr(request.module, "MEASURED", False)

    async def ran(*arguments: str, env: dict[str, str] | None = None, shell: str = "", program: str = "") -> Process:
        for name, value in (env or {}).items():
            if not name.startswith("COUNTERSIGN_SERVER") and "/" not in value:
                watch.know(value)
        dropped = "COUNTERSIGN_" if measured else ("COUNTERSIGN_", "COVERAGE_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        made = await asyncio.create_subprocess_exec(
            *(("bash", "-c", shell) if shell else ()),
            *(sys.executable, *(("-c", program) if program else ("-m", "proxy")), *arguments),
            env={
                **inherited, "PYTHONPATH": str(ROOT), "COUNTERSIGN_SERVER__ADMIN": "127.0.0.1:0", "NO_COLOR": "1",
                "XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), **(env or {}),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            cwd=tmp_path,
        )  # fmt: skip
        processes.append(Process(made))
        return processes[-1]

    yield ran
    for process in processes:
        await process.aclose()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Api() as made:
        yield made
