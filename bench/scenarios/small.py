"""Small answers over some connections: what a request costs."""

from __future__ import annotations

from typing import ClassVar

from bench.scenarios import Goal
from bench.scenarios._requests import Requests


class Small(Requests):
    """The first thing to look at."""

    name: ClassVar[str] = "small"
    title: ClassVar[str] = "290-byte answers, 32 connections, bearer, no access log"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 0.9),)
