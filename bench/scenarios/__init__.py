"""What is measured, a scenario a file: who does what, what one round is, and what shall come out."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.contenders import PLAIN, Contender, Job
from bench.process import Process

Reading = Mapping[str, float]  # by the metric's name; see bench/metrics.py for their units


@dataclass(frozen=True)
class Stage:
    """Where scenarios are played.

    Attributes:
        home: a folder for files.
        core: where the load runs.
        seconds: how long the load of a round lasts.
        api: HOST:PORT of the API that costs the least, see `bench/api.py`.
        backend: HOST:PORT of the one that can do more, see `bench/backend.py`.
        events: how many each event stream has, one a second.

    """

    home: Path
    core: int
    seconds: float
    api: str
    backend: str
    events: int


@dataclass(frozen=True)
class Case:
    """What is compared: a proxy at a job."""

    name: str
    contender: Contender
    job: Job = PLAIN

    def started(self, stage: Stage, api: str | None = None) -> AbstractContextManager[Process]:
        """Run the proxy in front of `api`, by default the one that costs the least.

        Raises:
            StartError: it does not listen.

        """
        home = Path(tempfile.mkdtemp(prefix=f"{self.contender.name}-", dir=stage.home))
        return self.contender.started(home, self.job, api or stage.api, stage.backend)


@dataclass(frozen=True)
class Goal:
    """What shall come out for Countersign.

    Attributes:
        metric: which of the readings.
        at_most: its limit.
        of: the case that it is divided by, round by round; None for the value itself.
        case: whose.

    """

    metric: str
    at_most: float
    of: str | None = "caddy"
    case: str = "countersign"


class Scenario(ABC):
    """One of the questions.

    Attributes:
        name: what users choose it by.
        title: what it asks, for tables.
        question: the metric that it is about.
        base: the case that others are compared with.
        goals: what shall come out.
        most_rounds: how many are worth their time.

    """

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str] = "cpu"
    base: ClassVar[str] = "caddy"
    goals: ClassVar[tuple[Goal, ...]] = ()
    most_rounds: ClassVar[int] = 1000

    @abstractmethod
    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """Return who does what."""

    @abstractmethod
    def ready(self, case: Case, stage: Stage) -> AbstractContextManager[Callable[[], Reading]]:
        """Make a case ready until the end of the block; yields what plays a round.

        Raises:
            StartError: its proxy does not listen.
            LoadError: it does not answer as it should.

        """
