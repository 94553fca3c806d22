"""What is kept of a source that takes time to ask, and the pauses after it failed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import ClassVar

import pytest
from pydantic import PrivateAttr

from proxy.errors import SecretError
from proxy.secrets import _kept
from proxy.secrets._kept import KeptSource


class Scripted(KeptSource):
    """Returns a value that a test sets; empty: it fails."""

    kind: ClassVar[str] = "scripted"
    _value: str = PrivateAttr(default="")
    _count: int = PrivateAttr(default=0)

    @property
    def where(self) -> str:
        return "the script"

    @property
    def lifetime(self) -> float:
        return 300.0

    async def ask(self) -> str:
        self._count += 1
        await asyncio.sleep(0)
        if not self._value:
            raise SecretError(f"the script failed {self._count} times")
        return self._value


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    ticking = Ticking()
    monkeypatch.setattr(_kept, "time", SimpleNamespace(monotonic=lambda: ticking.now))
    return ticking


async def fails(source: KeptSource, problem: str) -> None:
    with pytest.raises(SecretError, match=f"^{problem}$"):
        await source.get()


async def test_the_pauses_grow_and_are_bounded_and_the_last_error_is_reported_meanwhile(clock: Ticking) -> None:
    source, asked_at = Scripted(), list[float]()
    for _ in range(600):
        await fails(source, "the script failed [0-9]+ times")
        if source._count != len(asked_at):
            asked_at.append(clock.now - 1000.0)
        await fails(source, f"the script failed {source._count} times")
        clock.now += 0.5
    assert asked_at[:8] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0]


async def test_all_who_ask_at_once_get_the_one_failure(clock: Ticking) -> None:
    source = Scripted()
    found = await asyncio.gather(*(source.get() for _ in range(50)), return_exceptions=True)
    assert ({str(failure) for failure in found}, source._count) == ({"the script failed 1 times"}, 1)


async def test_a_success_ends_the_pauses(clock: Ticking) -> None:
    source = Scripted()
    for _ in range(3):
        await fails(source, "the script failed . times")
        clock.now += 4
    source._value = "canary"
    assert await source.get() == "canary"
    clock.now += 300
    source._value = ""
    await fails(source, "the script failed 5 times")
    clock.now += 1
    await fails(source, "the script failed 6 times")


async def test_reading_anew_pauses_after_a_failure_and_what_is_kept_stays(clock: Ticking) -> None:
    source = Scripted()
    source._value = "canary"
    assert await source.get() == "canary"
    source._value = ""
    for _ in range(50):
        with pytest.raises(SecretError, match="failed 2 times"):
            await source.renewed("canary")
    assert await source.get() == "canary"
    clock.now += 1
    source._value = "canary-2"
    assert await source.renewed("canary") == "canary-2"


async def test_what_stays_the_same_is_read_anew_after_growing_pauses(clock: Ticking) -> None:
    source = Scripted()
    source._value = "canary"
    for _ in range(128):
        assert await source.renewed("canary") == "canary"
        clock.now += 0.5
    assert source._count == 1 + 7, "after 1, 2, 4 ... 32 seconds"
