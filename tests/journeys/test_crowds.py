"""Many clients at once who are slow, or do not read: whoever is as others are is served, and they come to their end.

How long others wait meanwhile is for `bench/scenarios/slow.py` to say.
"""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.journeys.conftest import Build, House
from tests.journeys.processes import Process, Run, run_to
from tests.journeys.wires import HEAD, OK, PATIENCE, Api, Line, Message
from tests.leftovers import Held, at_most

COUNT = 300
PIECE = bytes(1 << 18)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")


async def slow_heads(house: House) -> list[Line]:
    clients = [await house.connect() for _ in range(COUNT)]
    for client in clients:
        await client.send(b"GET /x HTTP/1.1\r\nHost: local")
    return clients


async def emptied(house: House) -> None:
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 0)


async def test_a_crowd_of_slow_heads_is_told_so_and_gone(build: Build) -> None:
    house = await build(server={"header_timeout": 1, "keepalive": 1})
    clients = await slow_heads(house)
    assert [(await house.ask()).status for _ in range(10)] == [200] * 10
    assert [(await client.answer()).status for client in clients] == [408] * COUNT
    assert {await client.rest() for client in clients} == {b""}
    await emptied(house)
    assert len(house.api.messages) == 10


async def test_a_crowd_of_slow_heads_beyond_the_limit_makes_room(build: Build) -> None:
    house = await build(server={"connections": 50})
    clients = await slow_heads(house)
    assert [(await house.ask()).status for _ in range(10)] == [200] * 10
    assert len(house.proxy.app._server.connections) <= 50
    assert {await client.rest() for client in clients[:-50]} == {b""}


@linux
async def test_dripping_bodies_end_and_leave_nothing(build: Build) -> None:
    house = await build(server={"body_timeout": 0.5, "keepalive": 1})
    assert (await house.ask()).status == 200
    before = Held.now()
    clients = [await house.connect() for _ in range(100)]
    for client in clients:
        await client.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n", b"drip")
    assert (await house.ask()).status == 200
    assert [(await client.answer()).status for client in clients] == [408] * 100
    for client in clients:
        client.close()
    await emptied(house)
    await at_most(before, PATIENCE)


# -- descriptors ---------------------------------------------------------------------------------------

GARBAGE = b"\x00\x01 garbage\r\n\r\n"
CROWDS = {
    "garbage": GARBAGE,
    "silence": b"",
    "half a head": b"GET /x HTT",
    "tls": b"\x16\x03\x01\x02\x00\x01" + b"a" * 100,
}
STOCK_LOOP = "import sys; sys.modules['uvloop'] = None; from proxy.__main__ import main; main()"


def holds(process: Process, most: int) -> bool:
    return open_files(process) <= most


@linux
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_no_crowd_holds_more_descriptors_than_the_limit(run: Run, api: Api, loop: str) -> None:
    env = {"TOKEN": "x", "COUNTERSIGN_SERVER__CONNECTIONS": "16"}
    process = await run(*run_to(api), env=env, program=STOCK_LOOP if loop == "asyncio" else "")
    port = await process.port()
    admin, _ = await process.admin()
    assert (await process.ask(port=port)).status == 200
    before = open_files(process)
    for limit, where in ((16, port), (64, admin)):
        for sent in CROWDS.values():
            crowd = [socket.create_connection(("127.0.0.1", where)) for _ in range(COUNT)]
            for client in crowd:
                with suppress(OSError):
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
            await api.came(partial(holds, process, before + limit + 8))
            assert (await process.ask(port=port)).status == 200
            for client in crowd:
                client.close()


@linux
async def test_beyond_the_limit_each_is_told_at_once(run: Run, api: Api) -> None:
    go_on = asyncio.Event()

    async def held(_: Message, line: Line) -> None:
        await go_on.wait()
        await line.send(OK)

    api.always = held
    process = await run(*run_to(api), env={"TOKEN": "x", "COUNTERSIGN_SERVER__CONNECTIONS": "4"})
    port = await process.port()
    busy = [await process.connect(port) for _ in range(4)]
    for client in busy:
        await client.send(HEAD)
    await api.came(lambda: len(api.messages) == 4)
    before = open_files(process)
    refused = await asyncio.gather(*[process.ask(port=port) for _ in range(100)])
    assert [answer.status for answer in refused] == [503] * 100
    await api.came(lambda: open_files(process) <= before + 8)
    go_on.set()
    assert [(await client.answer()).status for client in busy] == [200] * 4


# -- who does not read ---------------------------------------------------------------------------------


@linux
async def test_who_does_not_read_slows_the_api_down_costs_little_and_is_cut_off(run: Run, api: Api) -> None:
    sent = 0

    async def endless(_: Message, line: Line) -> None:
        nonlocal sent
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
        while True:
            line.writer.write(PIECE)
            await line.writer.drain()
            sent += len(PIECE)

    process = await run(*run_to(api), env={"TOKEN": "x", "COUNTERSIGN_SERVER__BODY_TIMEOUT": "1s"})
    port = await process.port()
    assert (await process.ask(port=port)).status == 200
    before, peak = open_files(process), memory(process)
    api.always = endless
    deaf = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
    for client in deaf:
        client.sendall(HEAD)
    await api.came(lambda: len(api.messages) == 11)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*[line.writer.wait_closed() for line in api.lines], return_exceptions=True)
    assert sent < 10 * (16 << 20)  # most of it in the system's buffers
    assert memory(process) - peak < 20 << 10
    await api.came(lambda: open_files(process) <= before)
    for client in deaf:
        client.close()


def open_files(process: Process) -> int:
    return len(list(Path(f"/proc/{process.process.pid}/fd").iterdir()))


def memory(process: Process) -> int:
    """Its peak so far, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.process.pid}/status").read_text())
    assert found
    return int(found[1])
