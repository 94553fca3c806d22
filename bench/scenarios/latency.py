"""One request after the other."""

from __future__ import annotations

from typing import ClassVar

from bench.scenarios import Goal
from bench.scenarios._requests import Requests


class Latency(Requests):
    """What a single client waits for."""

    name: ClassVar[str] = "latency"
    title: ClassVar[str] = "290-byte answers, one connection"
    question: ClassVar[str] = "p50"
    connections: ClassVar[int] = 1
    goals: ClassVar[tuple[Goal, ...]] = (Goal("p50", 1.0),)
