"""The counters of all workers, for Prometheus."""

from __future__ import annotations

from typing import ClassVar

from proxy.admin import Facts, Page
from proxy.gateway import Answer
from proxy.metrics import text
from proxy.report import total


class MetricsPage(Page):
    """``/metrics``."""

    path: ClassVar[str] = "/metrics"
    open: ClassVar[bool] = True

    async def answer(self, facts: Facts) -> Answer:
        """As `Page.answer`."""
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        return Answer(200, [(b"Content-Type", kind)], text(total(await facts.workers.reports()).families))
