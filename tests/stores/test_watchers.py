from __future__ import annotations

import asyncio
from collections.abc import Callable

from proxy.stores._watchers import Watchers
from tests.doubles import settle


class Looking:
    """What looks for changes.

    Attributes:
        runs: how many look now.
        started: how often one began.

    """

    def __init__(self) -> None:
        self.runs = self.started = 0

    async def __call__(self) -> None:
        self.runs += 1
        self.started += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.runs -= 1


async def test_one_looks_for_all_and_only_while_somebody_watches() -> None:
    looking, told = Looking(), list[str]()
    watchers: Watchers[[str]] = Watchers(looking)
    ends = [watchers.add(told.append), watchers.add(told.append)]
    await settle()
    assert looking.runs == 1
    watchers.tell("a")
    assert told == ["a", "a"]
    for end in ends:
        assert looking.runs == 1
        end()
        await settle()
    assert looking.runs == 0
    watchers.add(told.append)()
    watchers.tell("b")
    await watchers.aclose()
    assert told == ["a", "a"]


async def test_who_is_told_may_end_it() -> None:
    watchers: Watchers[[str]] = Watchers(Looking())
    told: list[str] = []
    ends: list[Callable[[], None]] = []

    def once(name: str) -> None:
        told.append(name)
        ends[0]()

    ends.append(watchers.add(once))
    watchers.add(told.append)
    watchers.tell("a")
    watchers.tell("b")
    assert told == ["a", "a", "b"]
    await watchers.aclose()


async def test_the_end_is_awaited_and_nobody_is_told_afterwards() -> None:
    looking, told = Looking(), list[str]()
    watchers: Watchers[[str]] = Watchers(looking)
    await watchers.aclose()
    watchers.add(told.append)
    await settle()
    await watchers.aclose()
    assert (looking.started, looking.runs) == (1, 0)
    watchers.tell("a")
    assert told == []
