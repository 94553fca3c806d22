"""What choosing among many routes costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.contenders import Job
from bench.scenarios import Goal
from bench.scenarios._variants import Variants


class Routes(Variants):
    """The same request, whose route has a prefix, among others that nobody asks for."""

    name: ClassVar[str] = "routes"
    title: ClassVar[str] = "500 routes against 1"
    base: ClassVar[str] = "1 route"
    path: ClassVar[str] = "/api/things"
    jobs: ClassVar[Mapping[str, Job]] = {"1 route": Job(prefix="/api"), "500 routes": Job(prefix="/api", routes=500)}
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 1.05, of="1 route", case="500 routes"),)
