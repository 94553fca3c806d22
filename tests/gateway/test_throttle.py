"""A gate that a 429 closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from proxy.errors import ShuttingDown, Throttled
from proxy.gateway.retry import LONGEST
from proxy.gateway.throttle import FASTEST, SLOWEST, Gate
from tests.doubles import FakeClock, settle


@dataclass
class Street:
    """A gate, and those who come by: who left when, and how."""

    clock: FakeClock
    gate: Gate
    left: list[tuple[str, float]] = field(default_factory=list)
    waited: dict[str, float] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def comes(self, name: str, patience: float = 30.0) -> asyncio.Task[None]:
        async def walk() -> None:
            try:
                self.waited[name] = await self.gate.wait(patience)
            except (Throttled, ShuttingDown) as error:
                self.refused[name] = error
            else:
                self.left.append((name, self.clock.monotonic()))

        task = asyncio.create_task(walk())
        self.tasks.append(task)
        await settle()
        return task

    @property
    def order(self) -> str:
        return "".join(name for name, _ in self.left)


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    clock = FakeClock()
    street = Street(clock, Gate(clock))
    yield street
    await street.gate.aclose()
    await asyncio.gather(*street.tasks, return_exceptions=True)


async def test_an_open_gate_lets_everybody_pass_at_once(street: Street) -> None:
    assert street.gate.is_open
    assert street.gate.remaining() == 0
    await street.comes("a")
    assert street.waited == {"a": 0.0}


async def test_nobody_passes_while_it_is_closed(street: Street) -> None:
    street.gate.close(5)
    assert not street.gate.is_open
    await street.comes("a")
    await street.clock.advance(4.99)
    assert street.order == ""
    assert street.gate.remaining() == pytest.approx(0.01)
    await street.clock.advance(0.02)
    assert street.waited["a"] == pytest.approx(5)


async def test_they_leave_one_by_one_in_their_order_and_faster_and_faster(street: Street) -> None:
    street.gate.close(1)
    for name in "abcdefghij":
        await street.comes(name)
    await street.clock.advance(10)
    assert street.order == "abcdefghij"
    times = [moment for _, moment in street.left]
    pauses = [after - before for before, after in pairwise(times)]
    assert times[0] == pytest.approx(1)
    assert pauses[0] == pytest.approx(SLOWEST)
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[-1] == pytest.approx(FASTEST)
    assert street.gate.is_open


async def test_who_comes_while_the_queue_leaves_goes_to_its_end(street: Street) -> None:
    street.gate.close(1)
    for name in "abc":
        await street.comes(name)
    await street.clock.advance(1.01)
    assert street.order == "a"
    assert not street.gate.is_open
    await street.comes("d")
    await street.clock.advance(5)
    assert street.order == "abcd"


async def test_after_the_last_one_it_stays_closed_for_one_more_pause(street: Street) -> None:
    street.gate.close(1)
    await street.comes("a")
    await street.clock.advance(1.01)
    assert street.order == "a"
    assert not street.gate.is_open
    await street.clock.advance(SLOWEST)
    assert street.gate.is_open


async def test_another_429_closes_it_anew_and_slows_them_down_again(street: Street) -> None:
    street.gate.close(1)
    for name in "abcd":
        await street.comes(name)
    await street.clock.advance(1.15)
    assert street.order == "ab"
    street.gate.close(7)
    await street.clock.advance(6.9)
    assert street.order == "ab"
    await street.clock.advance(1)
    assert street.order == "abcd"
    assert street.left[2][1] == pytest.approx(8.15)
    assert street.left[3][1] == pytest.approx(8.15 + SLOWEST)


async def test_a_longer_time_that_was_told_before_stands(street: Street) -> None:
    street.gate.close(9)
    street.gate.close(1)
    assert street.gate.remaining() == pytest.approx(9)
    street.gate.close(20)
    assert street.gate.remaining() == pytest.approx(20)


async def test_no_api_closes_it_for_ever(street: Street) -> None:
    street.gate.close(1e20)
    assert street.gate.remaining() == pytest.approx(LONGEST)


async def test_a_wait_of_nothing_is_over_at_once(street: Street) -> None:
    street.gate.close(0)
    await settle()
    assert street.gate.is_open


# -- patience --------------------------------------------------------------------------------------------


async def test_who_cant_wait_so_long_is_refused_at_once_with_the_rest_of_the_time(street: Street) -> None:
    street.gate.close(40.2)
    await street.comes("a", patience=30)
    error = street.refused["a"]
    assert isinstance(error, Throttled)
    assert error.status == 429
    assert error.retry_after == 41


@pytest.mark.parametrize(("patience", "waits"), [(5.0, True), (4.99, False), (0.0, False), (-1.0, False)])
async def test_patience_ends_where_it_ends(street: Street, patience: float, *, waits: bool) -> None:
    street.gate.close(5)
    await street.comes("a", patience=patience)
    assert ("a" not in street.refused) is waits


async def test_who_waits_when_it_is_closed_for_longer_is_refused_then(street: Street) -> None:
    street.gate.close(5)
    await street.comes("a", patience=8)
    await street.comes("b", patience=30)
    await street.clock.advance(4)
    street.gate.close(10)
    await settle()
    error = street.refused["a"]
    assert isinstance(error, Throttled)
    assert error.retry_after == 10
    await street.clock.advance(10.1)
    assert street.order == "b"


async def test_who_runs_out_of_patience_in_the_queue_is_refused(street: Street) -> None:
    street.gate.close(5)
    for name in "abcde":
        await street.comes(name, patience=5.15)
    await street.clock.advance(6)
    assert street.order == "ab"
    assert set(street.refused) == set("cde")
    assert {error.retry_after for error in street.refused.values() if isinstance(error, Throttled)} == {1}


async def test_nobody_waits_longer_than_patience_and_a_pause(street: Street) -> None:
    street.gate.close(5)
    for name in "abcdefghijklmnop":
        await street.comes(name, patience=5.3)
    await street.clock.advance(60)
    assert max(street.waited.values()) <= 5.3 + SLOWEST
    assert len(street.waited) + len(street.refused) == 16


# -- those who go away -----------------------------------------------------------------------------------


async def test_who_goes_away_leaves_no_gap(street: Street) -> None:
    street.gate.close(1)
    tasks = [await street.comes(name) for name in "abcd"]
    tasks[0].cancel()
    tasks[2].cancel()
    await settle()
    await street.clock.advance(1.01)
    assert street.order == "b"
    await street.clock.advance(SLOWEST)
    assert street.order == "bd"


async def test_if_all_go_away_the_gate_opens_when_it_is_time(street: Street) -> None:
    street.gate.close(1)
    for name in "ab":
        (await street.comes(name)).cancel()
    await street.clock.advance(1.01)
    assert street.gate.is_open


async def test_who_has_gone_is_not_refused_either(street: Street) -> None:
    street.gate.close(1)
    (await street.comes("a", patience=2)).cancel()
    await settle()
    street.gate.close(50)
    await settle()
    assert street.refused == {}


# -- the end ---------------------------------------------------------------------------------------------


async def test_at_the_end_those_who_wait_are_sent_home(street: Street) -> None:
    street.gate.close(10)
    for name in "ab":
        await street.comes(name)
    await street.gate.aclose()
    await settle()
    assert {type(error) for error in street.refused.values()} == {ShuttingDown}
    assert street.gate.is_open


async def test_even_if_the_gate_has_not_begun_to_wait() -> None:
    gate = Gate(FakeClock())
    turn = asyncio.create_task(gate.wait(30))
    gate.close(10)
    waiting = asyncio.create_task(gate.wait(30))
    closing = asyncio.create_task(gate.aclose())
    await asyncio.gather(turn, waiting, closing, return_exceptions=True)
    assert gate.is_open
    gate.close(10)
    await gate.aclose()
    assert gate.is_open


async def test_closing_an_open_gate_for_good_does_nothing() -> None:
    await Gate(FakeClock()).aclose()


async def test_its_end_is_reported_each_time() -> None:
    clock = FakeClock()
    ends: list[float] = []
    gate = Gate(clock, lambda: ends.append(clock.monotonic()))
    for _ in range(2):
        gate.close(1)
        await clock.advance(1)
    gate.close(5)
    await settle()
    await gate.aclose()
    assert ends == [1.0, 2.0, 2.0]
