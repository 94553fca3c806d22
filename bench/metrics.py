"""What is read: names, units, and how numbers are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A quantity.

    Attributes:
        label: for the head of a column.
        digits: after the point.

    """

    label: str
    digits: int = 0

    def show(self, value: float) -> str:
        """Return `value` as tables have it."""
        return f"{value:,.{self.digits}f}"


METRICS = {
    "elapsed": Metric("s", 3),
    "used": Metric("CPU s", 3),
    "growth": Metric("MiB more", 1),
    "each": Metric("KiB each", 1),
    "delay": Metric("p99 delay ms", 1),
    "cpu": Metric("CPU µs/request", 1),
    "rate": Metric("req/s"),
    "p50": Metric("p50 ms", 2),
    "p99": Metric("p99 ms", 2),
    "memory": Metric("MiB"),
    "errors": Metric("errors"),
}
