from random import Random

import pytest

from proxy.demo import flakiness
from proxy.demo.flakiness import Fate, Flakiness


def longest_streak(fates: list[Fate]) -> int:
    longest = streak = 0
    for fate in fates:
        streak = 0 if fate is Fate.SERVED else streak + 1
        longest = max(longest, streak)
    return longest


@pytest.mark.parametrize("seed", range(5))
def test_about_half_fail_but_never_more_than_two_in_a_row(seed: int) -> None:
    dice = Flakiness(Random(seed))

    fates = [dice.fate("/a") for _ in range(2000)]

    assert longest_streak(fates) == 2
    assert 900 < fates.count(Fate.SERVED) < 1100
    assert fates.count(Fate.DROPPED) > 100


@pytest.mark.parametrize("seed", range(5))
def test_nor_in_a_row_of_one_target_while_others_come_between(seed: int) -> None:
    dice, order = Flakiness(Random(seed)), Random(seed)
    seen: dict[str, list[Fate]] = {"/a": [], "/b": [], "/c": []}

    for _ in range(2000):
        target = order.choice(sorted(seen))
        seen[target].append(dice.fate(target))

    assert all(longest_streak(fates) <= 2 for fates in seen.values())


def test_the_same_seed_throws_the_same_dice() -> None:
    one, other = Flakiness(Random(7)), Flakiness(Random(7))

    assert [one.fate("/") for _ in range(50)] == [other.fate("/") for _ in range(50)]


def test_only_so_many_targets_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flakiness, "TARGETS", 2)
    dice = Flakiness(Random(0))

    for number in range(100):
        dice.fate(f"/{number}")

    assert len(dice._streaks) <= 2
