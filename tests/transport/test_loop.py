"""The event loop that serves looks names up as the transports do, whoever asks."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from importlib import reload
from typing import Any

import pytest

from proxy.transport import loop


@pytest.fixture(params=["uvloop", "asyncio"])
def made(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    reload(loop)
    yield loop.Loop
    monkeypatch.undo()
    reload(loop)


def test_it_is_uvloops_where_there_is_one(made: Any, request: pytest.FixtureRequest) -> None:
    assert made.__mro__[1].__module__.startswith(request.node.callspec.params["made"])


def test_a_name_that_hangs_delays_neither_another_nor_an_address(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, gate = socket.getaddrinfo, threading.Event()

    def hanging(host: Any, *rest: Any, **named: Any) -> Any:
        if str(host).startswith("slow"):
            assert gate.wait(30)
        return real("127.0.0.1" if str(host).endswith(".test") else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)

    async def main() -> None:
        running = asyncio.get_running_loop()
        slow = [asyncio.create_task(running.getaddrinfo(f"slow-{number}.test", 80)) for number in range(20)]
        await asyncio.sleep(0)
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as wire:
            wire.setblocking(False)
            async with asyncio.timeout(10):
                assert await running.getaddrinfo("other.test", 80)
                await running.sock_connect(wire, server.getsockname())
        gate.set()
        await asyncio.gather(*slow)

    with asyncio.Runner(loop_factory=made) as runner:
        runner.run(main())
