"""The real clock, and the one that tests hand in."""

from __future__ import annotations

import asyncio
import time

from proxy.clock import Clock
from tests.doubles import FakeClock


async def test_the_real_one_tells_the_time() -> None:
    clock = Clock()
    assert abs(clock.time() - time.time()) < 5
    before = clock.monotonic()
    await clock.sleep(0)
    assert clock.monotonic() >= before


async def test_the_fake_one_wakes_sleepers_in_their_order() -> None:
    clock, woken = FakeClock(), list[int]()

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(2)
    assert woken == [1, 2]
    await clock.advance(1)
    assert woken == [1, 2, 3]
    await asyncio.gather(*tasks)
