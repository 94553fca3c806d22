"""What a second worker costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.contenders import PLAIN, Job
from bench.scenarios import Goal
from bench.scenarios._variants import Variants


class Workers(Variants):
    """On one core, since the other one is the load's: this is what sharing a port costs, not what it brings."""

    name: ClassVar[str] = "workers"
    title: ClassVar[str] = "2 workers against 1, on one core"
    base: ClassVar[str] = "1 worker"
    jobs: ClassVar[Mapping[str, Job]] = {"1 worker": PLAIN, "2 workers": Job(workers=2)}
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 1.1, of="1 worker", case="2 workers"),)
