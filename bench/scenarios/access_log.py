"""A line for each request."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import Job
from bench.scenarios import Goal
from bench.scenarios._requests import Requests


class AccessLog(Requests):
    """Everyone's own format, to a file."""

    name: ClassVar[str] = "access-log"
    title: ClassVar[str] = "the same with an access log, to a file"
    job: ClassVar[Job] = Job(access_log=True)
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 1.0),)
