"""Retries under load over real sockets, by one process and by two: what the API gets of them, and what clients see.

`tests/gateway/test_load.py` has the long run of it, in time that is handed in.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from tests.doubles import HurriedClock
from tests.journeys.conftest import Build
from tests.journeys.processes import TOKEN, Run, run_to
from tests.journeys.wires import HEAD, OK, Api, Line, Message, Step

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
CLIENTS = 20

Connect = Callable[[], Awaitable[Line]]


async def play(connect: Connect, requests: int, passing: Callable[[], None] = lambda: None) -> Counter[int]:
    """Let clients ask, each over a connection of its own and one request after the other; count what they see."""
    numbers = iter(range(requests))
    seen: Counter[int] = Counter()

    async def client() -> None:
        line = await connect()
        for _ in numbers:
            passing()
            await line.send(HEAD)
            seen[(await line.answer()).status] += 1

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return seen


def failing(share: float, seed: int) -> Step:
    random = Random(seed)

    async def step(_: Message, line: Line) -> None:
        await line.send(UNAVAILABLE if random.random() < share else OK)

    return step


@pytest.mark.parametrize(("share", "seed"), [(1.0, 0), (0.1, 1), (0.1, 2)])
async def test_a_failing_api_gets_a_quarter_more_at_most(build: Build, share: float, seed: int) -> None:
    clock = HurriedClock()
    house = await build(clock=clock, options={"random": Random(seed)})
    house.api.always = failing(share, seed)

    def passing() -> None:
        clock.now += 0.01

    seen = await play(house.connect, 800, passing)
    assert len(house.api.messages) <= 1.25 * 800
    assert seen[200] == 0 if share == 1 else seen[200] >= 0.99 * 800


async def test_two_workers_have_a_budget_each(run: Run, api: Api) -> None:
    settings = {"COUNTERSIGN_SERVER__WORKERS": "2", "COUNTERSIGN_RETRY__BACKOFF": "5ms"}
    process = await run(*run_to(api), env=TOKEN | settings)
    port = await process.port()
    api.always = failing(0.1, 3)
    assert (await play(lambda: process.connect(port), 600))[200] >= 0.99 * 600
    first = len(api.messages)
    assert first <= 1.25 * 600
    api.always = UNAVAILABLE
    assert await play(lambda: process.connect(port), 600) == {503: 600}
    # What the first six hundred left of their budgets may be spent on these.
    assert first + 600 < len(api.messages) <= 1.25 * 1200
