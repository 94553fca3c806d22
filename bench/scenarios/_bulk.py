"""Scenarios with one large body."""

from __future__ import annotations

import time
from abc import abstractmethod

from bench.process import Process
from bench.scenarios import Reading, Stage
from bench.scenarios._fresh import Fresh


class Bulk(Fresh):
    """CPU, and the peak of the memory."""

    def measure(self, process: Process, stage: Stage) -> Reading:  # noqa: ARG002  # a body has its own length
        """As `Fresh.measure`."""
        process.forget_peak()
        start, cpu, memory = time.monotonic(), process.cpu(), process.peak()
        self.transfer(process.port)
        return {
            "used": process.cpu() - cpu,
            "elapsed": time.monotonic() - start,
            "growth": max(0.0, process.peak() - memory),
        }

    @abstractmethod
    def transfer(self, port: int) -> None:
        """Send or fetch the body.

        Raises:
            LoadError: it did not arrive whole.

        """
