"""When workers are started again: at once, and after growing pauses if they don't live long."""

from __future__ import annotations

STEADY = 60.0  # seconds: who has lived that long has not died of its start
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds


def pause(deaths: int) -> float:
    """Return the seconds until a worker is started again that has died so many times in a row."""
    return 0.0 if deaths <= 1 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 2, 10))


class Restarts:
    """Which workers are to be started when; in the beginning all of `count`, at once. Times are monotonic seconds."""

    def __init__(self, count: int) -> None:
        self._due = dict.fromkeys(range(count), 0.0)
        self._deaths = dict.fromkeys(range(count), 0)

    @property
    def next(self) -> float | None:
        """When the next one is due."""
        return min(self._due.values(), default=None)

    def take(self, now: float) -> list[int]:
        """Return those that are due, once."""
        found = [share for share, moment in self._due.items() if moment <= now]
        for share in found:
            del self._due[share]
        return found

    def put(self, share: int, born: float, now: float) -> float:
        """Have one started in place of another that has died; return the seconds until then."""
        deaths = self._deaths[share] = 1 if now - born >= STEADY else self._deaths[share] + 1
        self._due[share] = now + pause(deaths)
        return pause(deaths)
