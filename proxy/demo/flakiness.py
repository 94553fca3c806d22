"""The dice of ``/flaky``. About half of the requests fail, but never more than two in a row.

Not in a row of all requests, and not in a row of those to one target: so whoever sends a request up to three
times gets through, also when others call other targets meanwhile. No HTTP here.
"""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Final

STREAK: Final = 2  # failures in a row, at most
FAILING: Final = 0.6  # of the requests that may fail
DROPPED: Final = 0.25  # of those that fail: the connection ends without an answer
TARGETS: Final = 1024  # whose streaks are remembered


class Fate(Enum):
    """What becomes of a request."""

    SERVED = "served"
    REFUSED = "refused"
    DROPPED = "dropped"


class Flakiness:
    """Throws the dice, and remembers streaks of failures."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._streak = 0
        self._streaks: dict[str, int] = {}

    def fate(self, target: str) -> Fate:
        """Decide about a request to `target`."""
        streak = self._streaks.pop(target, 0)
        if max(self._streak, streak) >= STREAK or self._random.random() >= FAILING:
            self._streak = 0
            return Fate.SERVED
        self._streak += 1
        self._streaks[target] = streak + 1
        if len(self._streaks) > TARGETS:
            del self._streaks[next(iter(self._streaks))]
        return Fate.DROPPED if self._random.random() < DROPPED else Fate.REFUSED
