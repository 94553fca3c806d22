"""Clients that keep their connection and say nothing."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import ClassVar

from bench.load.plain import ask, connected
from bench.process import Process
from bench.scenarios import Goal, Reading, Stage
from bench.scenarios._fresh import Fresh

_COUNT = 1000
_SETTLING = 1.0  # seconds


class Idle(Fresh):
    """Each has sent one request, one after the other, and sends another one at the end."""

    name: ClassVar[str] = "idle"
    title: ClassVar[str] = "memory of an idle client connection, of 1,000"
    question: ClassVar[str] = "each"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("each", 0.8),)

    def measure(self, process: Process, stage: Stage) -> Reading:  # noqa: ARG002  # there is no load
        """As `Fresh.measure`."""
        before = process.memory()
        with ExitStack() as stack:
            socks = [stack.enter_context(connected(process.port)) for _ in range(_COUNT)]
            for sock in socks:
                ask(sock)
            time.sleep(_SETTLING)
            after = process.memory()
            for sock in socks:
                ask(sock)
        return {"each": (after - before) * 1024 / _COUNT, "memory": after}
