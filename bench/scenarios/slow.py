"""Ten thousand clients whose heads drip, and one who is as others are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from bench.contenders import Contender, Job
from bench.load.polite import Polite
from bench.load.slow import flooding
from bench.process import Process
from bench.scenarios import Case, Goal, Reading, Stage
from bench.scenarios._fresh import Fresh

_COUNT = 10_000
_SETTLING = 2.0  # seconds
_RAISED = "countersign, connections = 20,000"


class Slow(Fresh):
    """The one asks from before the first of them has come until the last has gone."""

    name: ClassVar[str] = "slow"
    title: ClassVar[str] = "10,000 slow heads, and one who is not"
    question: ClassVar[str] = "p99"
    goals: ClassVar[tuple[Goal, ...]] = tuple(
        Goal(metric, limit, of=None, case=case)
        for case in ("countersign", _RAISED)
        for metric, limit in (("errors", 0), ("p99", 200), ("each", 40), ("elapsed", 15))
    )
    most_rounds: ClassVar[int] = 1

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: everyone, and Countersign as one that lets all of them in."""
        raised = [Case(_RAISED, each, Job(connections=2 * _COUNT)) for each in contenders if each.name == "countersign"]
        return super().cases(contenders) + raised

    def measure(self, process: Process, stage: Stage) -> Reading:  # noqa: ARG002  # there is no other load
        """As `Fresh.measure`."""
        before = process.memory()
        one = Polite(process.port)
        with flooding(process.port, _COUNT) as flood:
            one.ask_until(flood.has_news)
            flood.news()
            settled = time.monotonic() + _SETTLING
            one.ask_until(lambda: time.monotonic() > settled)
            memory = process.memory()
            one.ask_until(flood.has_news)
            fates = flood.news()
        return {
            "p99": one.percentile(99), "p50": one.percentile(50), "each": (memory - before) * 1024 / _COUNT,
            "errors": one.errors + fates.left, "elapsed": max(fates.lives, default=0.0),
        }  # fmt: skip
