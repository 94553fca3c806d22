"""What came out, as values: medians, ratios round by round, and whether a goal is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.metrics import METRICS
from bench.scenarios import Goal, Reading


@dataclass(frozen=True)
class Verdict:
    """What became of a goal: ``value`` is None where it was not measured."""

    text: str
    value: float | None
    at_most: float

    @property
    def met(self) -> bool:
        """Whether it was measured, and holds."""
        return self.value is not None and self.value <= self.at_most


@dataclass(frozen=True)
class Result:
    """A scenario's outcome.

    Attributes:
        question: the metric that it is about.
        base: the case that others are compared with.
        readings: by case, a reading for each round; all cases have as many.
        skipped: by case, why there are none.

    """

    name: str
    title: str
    question: str
    base: str
    readings: Mapping[str, Sequence[Reading]]
    skipped: Mapping[str, str]
    goals: Sequence[Goal] = ()

    @property
    def metrics(self) -> list[str]:
        """Names of what was read, the question first."""
        names = sorted(METRICS, key=lambda name: name != self.question)
        return [name for name in names if any(name in each[0] for each in self.readings.values())]

    def median(self, case: str, metric: str) -> float | None:
        """Return the median over the rounds, or None if it was not read."""
        values = [reading[metric] for reading in self.readings.get(case, ()) if metric in reading]
        return median(values) if values else None

    def ratio(self, case: str, base: str, metric: str) -> float | None:
        """Return the median of the ratios, round by round, since neighbours in time had the same machine."""
        pairs = zip(self.readings.get(case, ()), self.readings.get(base, ()), strict=False)
        ratios = [mine[metric] / theirs[metric] for mine, theirs in pairs if theirs.get(metric)]
        return median(ratios) if ratios else None

    def verdict(self, goal: Goal) -> Verdict:
        """Return what became of `goal`."""
        label = METRICS[goal.metric].label
        if goal.of is None:
            return Verdict(label, self.median(goal.case, goal.metric), goal.at_most)
        return Verdict(f"{label} of {goal.of}", self.ratio(goal.case, goal.of, goal.metric), goal.at_most)
