"""A large answer."""

from __future__ import annotations

from typing import ClassVar

from bench.api import LARGE
from bench.load.plain import download
from bench.scenarios import Goal
from bench.scenarios._bulk import Bulk


class Download(Bulk):
    """A file that nginx sends."""

    name: ClassVar[str] = "download"
    title: ClassVar[str] = "1 GiB down"
    question: ClassVar[str] = "used"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("used", 1.0), Goal("growth", 32, of=None))

    def transfer(self, port: int) -> None:
        """As `Bulk.transfer`."""
        download(port, "/large", LARGE)
