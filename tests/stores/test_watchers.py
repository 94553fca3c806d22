from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from proxy.stores import _watchers
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
    watchers: Watchers[[str]] = Watchers(looking, print)
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
    watchers: Watchers[[str]] = Watchers(Looking(), print)
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
    watchers: Watchers[[str]] = Watchers(looking, print)
    await watchers.aclose()
    watchers.add(told.append)
    await settle()
    await watchers.aclose()
    assert (looking.started, looking.runs) == (1, 0)
    watchers.tell("a")
    assert told == []


async def test_a_look_that_fails_is_reported_without_its_text_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watchers, "PAUSE", 0.0)
    looks, warned, told = 0, list[str](), list[str]()

    async def look() -> None:
        nonlocal looks
        looks += 1
        watchers.tell(str(looks))
        if looks < 100:
            raise RuntimeError("t0ken-canary")
        await asyncio.Event().wait()

    watchers: Watchers[[str]] = Watchers(look, warned.append)
    watchers.add(told.append)
    async with asyncio.timeout(10):
        while looks < 100:
            await asyncio.sleep(0)
    assert told == [str(number + 1) for number in range(100)]
    (line,) = warned
    assert line.startswith("the watch of the token store failed with RuntimeError at ")
    assert line.endswith("(1 so far)")
    assert "canary" not in line
    assert watchers._warning.count == 99
    await watchers.aclose()


async def test_one_who_fails_when_told_keeps_the_news_from_nobody() -> None:
    warned, told = list[str](), list[str]()
    watchers: Watchers[[str]] = Watchers(Looking(), warned.append)

    def broken(name: str) -> None:
        raise KeyError(name)

    watchers.add(broken)
    watchers.add(told.append)
    watchers.tell("a")
    assert told == ["a"]
    assert "failed with KeyError" in warned[0]
    await watchers.aclose()
