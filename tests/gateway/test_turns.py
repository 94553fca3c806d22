"""Requests that pass one at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from proxy.errors import ShuttingDown
from proxy.gateway.throttle import FASTEST, SLOWEST
from proxy.gateway.turns import OneAtATime, Turn
from tests.doubles import FakeClock, settle


@dataclass
class Case:
    """A queue that lasts for 100 s, and who passed it when."""

    clock: FakeClock = field(default_factory=FakeClock)
    ends: list[float] = field(default_factory=list)
    passed: dict[str, float] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.queue = OneAtATime(self.clock, lambda: self.ends.append(self.clock.monotonic()))
        self.queue.last(100)

    async def comes(self, name: str, patience: float = 30.0) -> asyncio.Task[None]:
        async def walk() -> None:
            self.turns[name] = await self.queue.turn(patience)
            self.passed[name] = self.clock.monotonic()

        task = asyncio.create_task(walk())
        await settle()
        return task

    async def ends_with(self, name: str, *, refused: bool) -> None:
        self.turns[name].end(refused=refused)
        await settle()

    @property
    def order(self) -> str:
        return "".join(self.passed)


async def test_the_next_request_passes_when_the_one_before_was_refused() -> None:
    case = Case()
    for name in "abc":
        await case.comes(name)
    assert case.order == "a"
    await case.ends_with("a", refused=True)
    assert case.order == "ab"
    await case.ends_with("b", refused=True)
    await case.ends_with("c", refused=True)
    await case.comes("d")
    assert (case.order, case.ends) == ("abcd", [])


async def test_one_that_is_not_refused_ends_it_and_the_others_leave_paced() -> None:
    case = Case()
    names = "abcdefghijklmnop"
    for name in names:
        await case.comes(name)
    await case.clock.advance(3)
    await case.ends_with("a", refused=False)
    assert case.ends == [3.0]
    await case.comes("z")
    assert case.passed["z"] == 3.0
    await case.clock.advance(5)
    times = [case.passed[name] for name in names[1:]]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 3.0
    assert pauses[0] == pytest.approx(SLOWEST)
    assert pauses[-1] == pytest.approx(FASTEST, abs=1e-6)
    assert pauses == sorted(pauses, reverse=True) or max(pauses[8:]) < 0.011
    for name in names[1:]:
        await case.ends_with(name, refused=True)
    assert case.ends == [3.0]


async def test_nobody_waits_longer_than_its_patience_and_is_then_sent_beside_the_others() -> None:
    case = Case()
    await case.comes("a")
    await case.comes("b", patience=5.0)
    await case.comes("c", patience=60.0)
    await case.comes("d", patience=0.0)
    await case.clock.advance(5)
    assert case.passed == {"a": 0.0, "d": 0.0, "b": 5.0}
    await case.ends_with("b", refused=True)
    assert "c" not in case.passed  # it was not b that had the turn
    await case.ends_with("a", refused=True)
    assert "c" in case.passed


async def test_one_that_was_sent_beside_the_others_and_is_not_refused_ends_it_too() -> None:
    case = Case()
    await case.comes("a")
    await case.comes("b", patience=5.0)
    await case.clock.advance(5)
    await case.ends_with("b", refused=False)
    assert case.ends == [5.0]
    await case.ends_with("a", refused=True)
    assert case.ends == [5.0]


async def test_clients_that_leave_keep_nobody_waiting() -> None:
    case = Case()
    tasks = [await case.comes(name) for name in "abcd"]
    tasks[1].cancel()
    await case.ends_with("a", refused=True)
    assert case.order == "ac"
    case.turns["c"].end(refused=True)  # d has the turn, and leaves before it notices
    tasks[3].cancel()
    await settle()
    await case.comes("e")
    assert case.order == "ace"


async def test_a_turn_ends_once() -> None:
    case = Case()
    for name in "abc":
        await case.comes(name)
    await case.ends_with("a", refused=True)
    await case.ends_with("a", refused=True)
    assert case.order == "ab"
    Turn().end(refused=False)


async def test_it_ends_with_its_time_which_may_be_set_longer() -> None:
    case = Case()
    await case.comes("a")
    await case.comes("b", patience=1000)
    await case.clock.advance(50)
    case.queue.last(70)
    case.queue.last(1)
    await case.clock.advance(60)
    assert case.ends == []
    await case.clock.advance(11)
    assert case.ends == [pytest.approx(120.0)]
    assert case.order == "ab"


async def test_when_the_route_is_closed_those_who_wait_are_refused() -> None:
    case = Case()
    await case.comes("a")
    waiting = [await case.comes("b"), await case.comes("c")]
    waiting[1].cancel()
    case.queue.close()
    with pytest.raises(ShuttingDown):
        await waiting[0]
    await case.comes("d")
    assert case.order == "ad"
    await case.ends_with("a", refused=False)
    assert case.ends == []
