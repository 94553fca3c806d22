"""The limit of ``/throttled``: five requests of one client in any ten seconds. No HTTP here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 5  # requests …
WINDOW: Final = 10  # … in so many seconds


@dataclass(frozen=True)
class Quota:
    """What a client is told.

    Attributes:
        allowed: whether this request is served.
        remaining: how many more would be at once.
        reset: whole seconds until the next one is free again, at least 1.

    """

    allowed: bool
    remaining: int
    reset: int


class Throttle:
    """A sliding window for each client; refused requests don't count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._served: dict[str, deque[float]] = {}

    def take(self, client: str) -> Quota:
        """Count a request of `client`, if it is allowed."""
        now = self._clock()
        self._forget(now)
        served = self._served.setdefault(client, deque())
        allowed = len(served) < LIMIT
        if allowed:
            served.append(now)
        reset = max(1, math.ceil(served[0] + WINDOW - now))
        return Quota(allowed, LIMIT - len(served), reset)

    def _forget(self, now: float) -> None:
        for client, served in list(self._served.items()):
            while served and served[0] + WINDOW <= now:
                served.popleft()
            if not served:
                del self._served[client]
