"""Scenarios in which wrk asks for as much as it can get: CPU, rate and latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from bench.contenders import PLAIN, Contender, Job
from bench.load import wrk
from bench.process import Process
from bench.scenarios import Case, Reading, Scenario, Stage


class Requests(Scenario):
    """All proxies are up all the time, and are asked in turn.

    Attributes:
        job: what all of them do.
        connections: how many ask at once.
        warm: seconds of load before the first round.
        path: what is asked for.
        arguments: more of wrk's.

    """

    job: ClassVar[Job] = PLAIN
    connections: ClassVar[int] = 32
    warm: ClassVar[float] = 1.0
    path: ClassVar[str] = "/"
    arguments: ClassVar[tuple[str, ...]] = ()

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: everyone who can."""
        return [Case(each.name, each, self.job) for each in contenders if each.can(self.job)]

    @contextmanager
    def ready(self, case: Case, stage: Stage) -> Iterator[Callable[[], Reading]]:
        """As `Scenario.ready`."""
        with case.started(stage) as process:
            self._drive(process, stage, self.warm)
            yield lambda: self._measure(process, stage)

    def _measure(self, process: Process, stage: Stage) -> Reading:
        before = process.cpu()
        outcome = self._drive(process, stage, stage.seconds)
        return {
            "cpu": (process.cpu() - before) / outcome.requests * 1e6,
            "rate": outcome.rate,
            "p50": outcome.p50,
            "p99": outcome.p99,
            "memory": process.memory(),
            "errors": outcome.socket_errors,
        }

    def _drive(self, process: Process, stage: Stage, seconds: float) -> wrk.Outcome:
        return wrk.drive(
            f"http://127.0.0.1:{process.port}{self.path}",
            core=stage.core, seconds=seconds, connections=self.connections, arguments=self.arguments,
        )  # fmt: skip
