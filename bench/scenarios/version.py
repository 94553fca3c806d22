"""How long a command takes that does next to nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from bench.contenders import Contender
from bench.scenarios import Case, Goal, Reading, Scenario, Stage


class Version(Scenario):
    """``countersign --version``."""

    name: ClassVar[str] = "version"
    title: ClassVar[str] = "countersign --version"
    question: ClassVar[str] = "elapsed"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("elapsed", 0.15, of=None),)

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: Countersign."""
        return [Case(each.name, each) for each in contenders if each.name == "countersign"]

    @contextmanager
    def ready(self, case: Case, stage: Stage) -> Iterator[Callable[[], Reading]]:  # noqa: ARG002  # nothing is served
        """As `Scenario.ready`."""
        options = case.contender.options

        def play() -> Reading:
            begin, before = time.monotonic(), os.times()
            command = ["taskset", "-c", str(options.core), options.python, "-m", "proxy", "--version"]
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            used = after.children_user - before.children_user + after.children_system - before.children_system
            return {"elapsed": time.monotonic() - begin, "used": used}

        yield play
