"""What is looked at while it goes on, and the verdict: at the end it has to be as it was early on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes:
        seconds: since the beginning.
        memory: resident, in MiB.
        descriptors: that are open.
        tasks: of the event loops, over one for each connection.
        connections: of clients.

    """

    seconds: float
    memory: float
    descriptors: float
    tasks: float
    connections: float


@dataclass(frozen=True, slots=True)
class Trend:
    """How one of these went.

    Attributes:
        early, late: its mean in the second and in the last quarter of the time.
        slope: how much more in an hour, by least squares over the last three quarters.
        allowed: how much more is no growth.

    """

    name: str
    early: float
    late: float
    slope: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it did not grow."""
        return self.late - self.early <= self.allowed


ALLOWED = {"memory": (0.05, 3.0), "descriptors": (0.25, 50.0), "tasks": (0.25, 20.0), "connections": (0.25, 50.0)}
"""A share of what it was, and what is allowed in any case: how many are there at once is a matter of luck, too."""


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """Return how each of them went; there have to be four samples at least."""
    end = samples[-1].seconds
    early = [sample for sample in samples if end / 4 <= sample.seconds < end / 2]
    late = [sample for sample in samples if sample.seconds >= end * 3 / 4]
    warm = [sample for sample in samples if sample.seconds >= end / 4]
    found = []
    for name in [field.name for field in fields(Sample)][1:]:
        then = fmean(getattr(sample, name) for sample in early)
        now = fmean(getattr(sample, name) for sample in late)
        share, least = ALLOWED[name]
        rise = slope([sample.seconds for sample in warm], [getattr(sample, name) for sample in warm])
        found.append(Trend(name, then, now, rise * 3600, max(share * then, least)))
    return found


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the rise of `ys` for each of `xs`, by least squares."""
    x, y = fmean(xs), fmean(ys)
    spread = sum((each - x) ** 2 for each in xs)
    return sum((one - x) * (other - y) for one, other in zip(xs, ys, strict=True)) / spread if spread else 0.0
