"""The network of a soak: most connections are well, and the others come to all kinds of harm."""

from __future__ import annotations

from random import Random

from tests.relay import UNHARMED, End, Fate, Fates, Plan

_ENDS: tuple[End, ...] = ("reset", "reset", "reset", "close", "close", "close", "half-close", "half-close", "hang")
_WELL, _SLOW = 0.7, 0.1  # shares; the rest ends early


def harmful(seed: int) -> Plan:
    """Return what happens to connections between the proxy and its API."""

    def plan(number: int) -> Fates:
        random = Random(f"{seed}/{number}")
        drawn = random.random()
        if drawn < _WELL:
            return UNHARMED
        if drawn < _WELL + _SLOW:
            slow = Fate(latency=random.uniform(0.001, 0.03), bandwidth=random.choice((0, 4 << 20)))
            return Fates(slow, slow)
        after = int(random.expovariate(1 / 50_000))
        early = Fate(piece=random.choice((0, 0, 1460, 100)), after=after, end=random.choice(_ENDS))
        return Fates(early, Fate()) if random.random() < 0.3 else Fates(Fate(), early)

    return plan
