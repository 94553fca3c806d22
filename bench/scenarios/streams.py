"""Many event streams, each an event a second."""

from __future__ import annotations

from typing import ClassVar

from bench.load import streams
from bench.process import Process
from bench.scenarios import Goal, Reading, Stage
from bench.scenarios._fresh import Fresh

_COUNT = 1000


class Streams(Fresh):
    """All events of a second are sent in the same moment, which is the hardest."""

    name: ClassVar[str] = "streams"
    title: ClassVar[str] = "1,000 event streams, an event a second in each"
    question: ClassVar[str] = "delay"
    goals: ClassVar[tuple[Goal, ...]] = (
        Goal("errors", 0, of=None), Goal("delay", 250, of=None), Goal("growth", 150, of=None),
    )  # fmt: skip
    most_rounds: ClassVar[int] = 1

    def upstream(self, stage: Stage) -> str:
        """As `Fresh.upstream`."""
        return stage.backend

    def measure(self, process: Process, stage: Stage) -> Reading:
        """As `Fresh.measure`."""
        memory, cpu = process.memory(), process.cpu()
        during: list[float] = []
        tally = streams.drive(process.port, _COUNT, stage.events, lambda: during.append(process.memory()))
        return {
            "delay": tally.p99,
            "errors": tally.missing,
            "growth": during[0] - memory,
            "cpu": (process.cpu() - cpu) / len(tally.delays) * 1e6,
        }
