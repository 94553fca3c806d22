"""Scenarios that ask for memory: every round has a proxy that has done little before."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.contenders import PLAIN, Contender
from bench.load.plain import ask, connected
from bench.process import Process
from bench.scenarios import Case, Reading, Scenario, Stage

_WARM = 200  # requests


class Fresh(Scenario):
    """A proxy is started, warmed up and measured once."""

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: everyone."""
        return [Case(each.name, each) for each in contenders if each.can(PLAIN)]

    @contextmanager
    def ready(self, case: Case, stage: Stage) -> Iterator[Callable[[], Reading]]:
        """As `Scenario.ready`."""

        def play() -> Reading:
            with case.started(stage, self.upstream(stage)) as process:
                with connected(process.port) as sock:
                    for _ in range(_WARM):
                        ask(sock)
                return self.measure(process, stage)

        yield play

    def upstream(self, stage: Stage) -> str:
        """Return HOST:PORT of the API."""
        return stage.api

    @abstractmethod
    def measure(self, process: Process, stage: Stage) -> Reading:
        """Play one round.

        Raises:
            LoadError: the answers are not what they should be.

        """
