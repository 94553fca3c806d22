"""A large request body."""

from __future__ import annotations

from typing import ClassVar

from bench.api import LARGE
from bench.load.plain import upload
from bench.scenarios import Goal, Stage
from bench.scenarios._bulk import Bulk


class Upload(Bulk):
    """Its length is told beforehand."""

    name: ClassVar[str] = "upload"
    title: ClassVar[str] = "1 GiB up"
    question: ClassVar[str] = "used"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("used", 1.0), Goal("growth", 32, of=None))

    def upstream(self, stage: Stage) -> str:
        """As `Fresh.upstream`."""
        return stage.backend

    def transfer(self, port: int) -> None:
        """As `Bulk.transfer`."""
        upload(port, "/upload", LARGE)
