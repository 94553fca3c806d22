"""A process that may open few files: it serves those it has room for, tells the others, and does not spin."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.journeys.processes import Held, Process, Run, run_to
from tests.journeys.wires import HEAD, OK, Api, Line

if not sys.platform.startswith("linux"):
    pytest.skip("needs Linux's prlimit(2) and /proc", allow_module_level=True)

import resource

FEW = 256
ROOM = 64  # clients that so many files are enough for
SHELL = f'ulimit -n {FEW}; exec "$0" "$@"'
TICKS = os.sysconf("SC_CLK_TCK")


async def cramped(run: Run, api: Api) -> tuple[Process, int]:
    process = await run(*run_to(api), env={"TOKEN": "x"}, shell=SHELL)
    return process, await process.port()


async def asked(process: Process, port: int) -> Line:
    client = await process.connect(port)
    await client.send(HEAD)
    return client


async def idles(process: Process) -> None:
    """See that it needs next to no CPU for a while."""
    stat = Path(f"/proc/{process.process.pid}/stat")
    before = spent(stat)
    await asyncio.sleep(0.5)
    assert spent(stat) - before < 0.25


def spent(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def test_who_is_idle_makes_room(run: Run, api: Api) -> None:
    process, port = await cramped(run, api)
    await process.says(f"server.connections is 1024; this process may have files open for {ROOM}")
    clients = [await process.connect(port) for _ in range(200)]
    assert [(await process.ask(port=port)).status for _ in range(5)] == [200] * 5
    assert {await client.rest() for client in clients[: 200 - ROOM]} == {b""}


async def test_where_all_are_busy_the_others_are_told_and_nobody_else_notices(run: Run, api: Api) -> None:
    process, port = await cramped(run, api)
    held = Held()
    api.always = held
    busy = [await asked(process, port) for _ in range(ROOM)]
    await api.came(lambda: len(api.messages) == ROOM)
    others = [await asked(process, port) for _ in range(50)]
    answers = [await client.answer() for client in others]
    assert {(each.status, each.error, each.get("Retry-After")) for each in answers} == {
        (503, "connection_limit_reached", b"1")
    }
    await idles(process)
    held.go_on.set()
    assert [(await client.answer()).status for client in busy] == [200] * ROOM
    for client in (*busy, *others):
        client.close()
    assert (await process.ask(port=port)).status == 200


async def test_when_files_are_back_all_is_well(run: Run, api: Api) -> None:
    process, port = await cramped(run, api)
    kept = await asked(process, port)
    assert (await kept.answer()).status == 200
    pid = process.process.pid
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, FEW))

    # Who is in is served, by the connection to the API that there is.
    await kept.send(HEAD)
    assert (await kept.answer()).status == 200

    # Who comes is turned away by the system, at the latest.
    strangers = [await process.connect(port) for _ in range(20)]
    await idles(process)

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
    for stranger in strangers:
        stranger.close()
    assert (await process.ask(port=port)).status == 200
    await kept.send(HEAD)
    assert (await kept.answer()).status == 200


async def test_without_a_file_for_the_api_it_is_our_own_fault_and_tried_again(run: Run, api: Api) -> None:
    process, port = await cramped(run, api)
    pid = process.process.pid

    api.script = [OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
    first, second = await asked(process, port), await process.connect(port)
    assert (await first.answer()).status == 200
    await api.lines[0].rest()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())), FEW))
    await first.send(HEAD)
    await asyncio.sleep(0.1)
    second.close()  # which is a file for the next attempt
    assert (await first.answer()).status == 200
