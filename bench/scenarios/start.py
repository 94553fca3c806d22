"""How long it takes until it works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from bench.contenders import PLAIN, Contender
from bench.load.plain import ask, connected
from bench.scenarios import Case, Goal, Reading, Scenario, Stage


class Start(Scenario):
    """From the call to the first answer."""

    name: ClassVar[str] = "start"
    title: ClassVar[str] = "start to first answer"
    question: ClassVar[str] = "elapsed"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("elapsed", 0.5, of=None),)

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: everyone."""
        return [Case(each.name, each) for each in contenders if each.can(PLAIN)]

    @contextmanager
    def ready(self, case: Case, stage: Stage) -> Iterator[Callable[[], Reading]]:
        """As `Scenario.ready`."""

        def play() -> Reading:
            begin = time.monotonic()
            with case.started(stage) as process, connected(process.port) as sock:
                ask(sock)
                return {"elapsed": time.monotonic() - begin, "used": process.cpu()}

        yield play
