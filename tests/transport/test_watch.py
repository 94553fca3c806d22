from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from proxy.transport.watch import Watch


class Clock:
    """As much of an event loop as tells the time, with a hand to turn."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[tuple[float, Callable[[], None]]] = []
        self.made = 0

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Clock:
        self.made += 1
        self.alarms.append((self.now + seconds, call))
        return self

    def cancel(self) -> None:
        self.alarms.clear()

    def pass_by(self, seconds: float) -> None:
        end = self.now + seconds
        while self.alarms and self.alarms[0][0] <= end:
            self.now, call = self.alarms.pop(0)
            call()
        self.now = end


class Watched:
    """A connection as its watch sees it."""

    def __init__(self) -> None:
        self.active = 0.0
        self.busy = True
        self.excused = self.uploading = False
        self.unsent = 0
        self.was_late: list[int] = []

    def late(self, *, unsent: int) -> None:
        self.busy = False
        self.was_late.append(unsent)


Watching = tuple[Watch, Watched, Clock]


def watching(patience: float | None = 60.0) -> Watching:
    clock, watched = Clock(), Watched()
    return Watch(watched, patience, cast("asyncio.AbstractEventLoop", clock)), watched, clock


def test_a_silent_upstream_is_late() -> None:
    watch, watched, clock = watching()
    watch.begin()
    clock.pass_by(59)
    assert watched.was_late == []
    clock.pass_by(1)
    assert watched.was_late == [0]


def test_every_byte_gives_it_the_whole_time_again() -> None:
    watch, watched, clock = watching()
    watch.begin()
    for _ in range(4):
        clock.pass_by(40)
        watched.active = clock.now
    clock.pass_by(59)
    assert watched.was_late == []
    clock.pass_by(1)
    assert watched.was_late == [0]


def test_a_thousand_requests_make_few_timers() -> None:
    watch, watched, clock = watching()
    for _ in range(1000):
        watched.busy = True
        watch.begin()
        clock.pass_by(0.1)
        watched.busy = False
        clock.pass_by(0.1)
    assert clock.made <= 6
    clock.pass_by(100)
    assert clock.alarms == []
    assert watched.was_late == []


def test_who_waits_for_the_client_is_excused() -> None:
    watch, watched, clock = watching()
    watched.excused = watched.uploading = True
    watch.begin()
    clock.pass_by(1000)
    assert watched.was_late == []
    watched.excused = False
    clock.pass_by(76)
    assert watched.was_late == [0]


def test_an_upstream_that_takes_bytes_slowly_is_not_late_but_one_that_takes_none_is() -> None:
    watch, watched, clock = watching()
    watched.uploading = True
    watched.unsent = 1000
    watch.begin()
    for _ in range(20):
        clock.pass_by(15)
        watched.unsent -= 1
    assert watched.was_late == []
    clock.pass_by(90)
    assert watched.was_late == [980]


@pytest.mark.parametrize("patience", [None, 0.0])
def test_without_a_limit_nobody_looks(patience: float | None) -> None:
    watch, _, clock = watching(patience)
    watch.begin()
    assert clock.made == 0


def test_a_watch_that_was_stopped_never_looks_again() -> None:
    watch, watched, clock = watching()
    watch.begin()
    watch.stop()
    watch.stop()
    watch.begin()
    clock.pass_by(100)
    assert watched.was_late == []
