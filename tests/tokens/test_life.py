from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.stores import Token
from proxy.tokens._life import ENDLESS, NONE, life
from tests.doubles import START, FakeClock


@pytest.mark.parametrize(
    ("lives", "before", "chance", "due"),
    [
        (3600, 60, 0, 3540), (3600, 60, 1, 3546), (3600, 60, 0.5, 3543), (4, 60, 0, 3), (4, 60, 1, 3.1),
        (3600, 0, 0, 3600), (3600, 5000, 0, 2700), (0.4, 60, 0, 0.3),
    ],
)  # fmt: skip
def test_it_is_due_before_its_end_but_never_for_more_than_a_part_of_its_life(
    lives: float, before: float, chance: float, due: float
) -> None:
    found = life(Token("t", START + lives, obtained_at=START), FakeClock(), before, chance)
    assert [found.due, found.over] == pytest.approx([due, lives])
    assert [found.due_date - START, found.over_date - START] == pytest.approx([due, lives])


def test_one_whose_end_is_not_known_never_ends() -> None:
    assert life(Token("t", None), FakeClock(), 60, 0) == ENDLESS
    assert not ENDLESS.is_over(FakeClock())
    assert NONE.is_over(FakeClock())


def test_one_from_the_store_is_as_old_as_it_says() -> None:
    found = life(Token("t", START + 10, obtained_at=START - 90), FakeClock(), 60, 0)
    assert (found.due, found.over) == (-15, 10)


def test_one_that_does_not_say_how_old_it_is_is_new() -> None:
    found = life(Token("t", START + 100), FakeClock(), 60, 0)
    assert (found.due, found.over) == (75, 100)


def test_it_never_has_more_left_than_it_was_given_though_the_clock_was_put_back() -> None:
    found = life(Token("t", START + 3600, obtained_at=START), FakeClock(START - 86400), 60, 0)
    assert found.over_date - (START - 86400) == 3600


@pytest.mark.parametrize(("jumped", "passed", "over"), [(0, 99, False), (0, 100, True), (-50, 100, True),
                                                        (100, 0, True), (50, 49, False), (50, 50, True)])  # fmt: skip
def test_either_clock_ends_it(jumped: float, passed: float, over: bool) -> None:  # a column
    clock = FakeClock()
    found = life(Token("t", START + 100, obtained_at=START), clock, 60, 0)
    clock.now += passed
    clock.jumped = jumped
    assert found.is_over(clock) == over


FINITE = st.floats(-1e12, 1e12)


@given(FINITE, FINITE, st.floats(0, 1e6), st.floats(0, 1))
def test_whatever_a_store_says_nobody_is_late_before_it_is_due(
    expires_at: float, obtained_at: float, before: float, chance: float
) -> None:
    found = life(Token("t", expires_at, obtained_at=obtained_at), FakeClock(), before, chance)
    assert found.due <= found.over
    assert found.due_date <= found.over_date
