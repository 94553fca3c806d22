"""Retries under load: what the API gets of them, and what clients see. Time is handed in, 10 ms of it a request."""

from __future__ import annotations

import asyncio
from random import Random
from statistics import mean

import pytest

from tests.doubles import HurriedClock
from tests.journeys.conftest import Build, House
from tests.journeys.wires import OK, Line, Message

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
CLIENTS = 20


class Load:
    """Clients of one house, each with a connection, that ask one after another.

    Attributes:
        statuses: what they got.

    """

    def __init__(self, house: House, clock: HurriedClock) -> None:
        self._house = house
        self._clock = clock
        self.statuses: list[int] = []

    async def play(self, requests: int, request: bytes = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n") -> None:
        numbers = iter(range(requests))

        async def client() -> None:
            line = await self._house.connect()
            for _ in numbers:
                self._clock.now += 0.01
                await line.send(request)
                self.statuses.append((await line.answer()).status)

        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())


@pytest.mark.parametrize("requests", [200, 1000])
async def test_an_api_that_only_fails_gets_a_quarter_more_at_most(build: Build, requests: int) -> None:
    clock = HurriedClock()
    house = await build(clock=clock, options={"random": Random(1)})
    house.api.always = UNAVAILABLE
    load = Load(house, clock)
    await load.play(requests)
    assert load.statuses == [503] * requests
    assert requests < len(house.api.messages) <= 1.25 * requests


@pytest.mark.parametrize("seed", range(3))
async def test_one_failure_in_ten_is_hardly_ever_seen(build: Build, seed: int) -> None:
    clock, random = HurriedClock(), Random(seed)

    async def step(_: Message, line: Line) -> None:
        await line.send(UNAVAILABLE if random.random() < 0.1 else OK)

    house = await build(clock=clock, options={"random": Random(seed)})
    house.api.always = step
    load = Load(house, clock)
    await load.play(500)
    assert load.statuses.count(200) >= 0.99 * 500
    assert len(house.api.messages) <= 1.25 * 500


async def test_what_backs_off_at_once_does_not_come_back_at_once(build: Build) -> None:
    clock = HurriedClock()
    house = await build(clock=clock, options={"random": Random(1)}, retry={"budget": 1.0, "attempts": 2})
    house.api.always = UNAVAILABLE
    await Load(house, clock).play(200)
    # Full jitter: as many in each tenth of the half second as chance gives them.
    assert len(clock.slept) > 100
    tenths = [sum(at <= 20 * pause < at + 1 for pause in clock.slept) for at in range(10)]
    assert all(4 <= tenth <= 40 for tenth in tenths)
    assert 0.2 < mean(clock.slept) < 0.3
