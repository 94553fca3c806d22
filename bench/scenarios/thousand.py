"""Many clients at once."""

from __future__ import annotations

from typing import ClassVar

from bench.scenarios import Goal
from bench.scenarios._requests import Requests


class Thousand(Requests):
    """All of them connect in the same moment, which wants a listen backlog."""

    name: ClassVar[str] = "thousand"
    title: ClassVar[str] = "290-byte answers, 1,000 connections"
    connections: ClassVar[int] = 1000
    warm: ClassVar[float] = 3.0  # each has to be connected, and then its proxy to the API
    goals: ClassVar[tuple[Goal, ...]] = (Goal("cpu", 0.9), Goal("p99", 1.5), Goal("errors", 0, of=None))
