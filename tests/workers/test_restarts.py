"""When workers are started again."""

from __future__ import annotations

import pytest

from proxy.workers.restarts import STEADY, Restarts, pause


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (6, 16), (7, 30), (8, 30), (10**6, 30)]
)
def test_pauses_grow(deaths: int, seconds: float) -> None:
    assert pause(deaths) == seconds


def test_in_the_beginning_all_are_due_once() -> None:
    restarts = Restarts(3)
    assert restarts.next == 0.0
    assert restarts.take(5.0) == [0, 1, 2]
    assert restarts.take(5.0) == []
    assert restarts.next is None


def test_each_one_has_its_own_pauses() -> None:
    restarts = Restarts(2)
    restarts.take(0.0)
    assert [restarts.put(0, 0.0, 10.0), restarts.put(1, 0.0, 10.0)] == [0, 0]
    assert restarts.take(10.0) == [0, 1]
    assert [restarts.put(0, 10.0, 11.0) for _ in range(3)] == [1, 2, 4]
    assert restarts.next == 15.0
    assert restarts.take(14.9) == []
    assert restarts.take(15.0) == [0]
    assert restarts.put(1, 10.0, 20.0) == 1


def test_who_has_lived_long_starts_from_the_beginning() -> None:
    restarts = Restarts(1)
    restarts.take(0.0)
    assert [restarts.put(0, 0.0, 1.0) for _ in range(3)] == [0, 1, 2]
    assert restarts.put(0, 10.0, 10.0 + STEADY) == 0
