"""When a token is due to be renewed and when it is over, by two clocks.

The wall clock knows of a machine that slept, the monotonic one of a wall clock that was put back: what
either of them says counts. Pure, but for asking the clock once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.stores import Token

PART = 0.25  # of a token's life at most is left when it is renewed early
SPREAD = 0.1  # of that time is left to chance, so that those who share a token don't all come at once


@dataclass(frozen=True, slots=True)
class Life:
    """Moments of a token's life.

    Attributes:
        due, over: monotonic seconds.
        due_date, over_date: epoch seconds.

    """

    due: float
    over: float
    due_date: float
    over_date: float

    def is_over(self, clock: Clock) -> bool:
        """Whether the token must not be used any more."""
        return clock.monotonic() >= self.over or clock.time() >= self.over_date


ENDLESS = Life(math.inf, math.inf, math.inf, math.inf)
NONE = Life(-math.inf, -math.inf, -math.inf, -math.inf)


def life(token: Token, clock: Clock, refresh_before: float, chance: float) -> Life:
    """Return the life of a token that is had from now on.

    Args:
        token: fresh from its endpoint, or from the store, by whose dates it may be older.
        clock: tells what is now.
        refresh_before: seconds before its end at which it is renewed.
        chance: from 0 to 1; how much later it is renewed.

    """
    if token.expires_at is None:
        return ENDLESS
    now, date = clock.monotonic(), clock.time()
    # It never has more left than it was given, though the clock was put back since.
    whole = token.expires_at - token.obtained_at
    left = min(token.expires_at - date, whole)
    if not token.obtained_at:
        whole = left
    early = max(0.0, min(refresh_before, whole * PART)) * (1 - SPREAD * chance)
    return Life(now + left - early, now + left, date + left - early, date + left)
