"""Scenarios in which Countersign is compared with itself at another job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from bench.contenders import Contender, Job
from bench.scenarios import Case
from bench.scenarios._requests import Requests


class Variants(Requests):
    """As `Requests`, with jobs by name in place of contenders; the first is the base.

    Attributes:
        jobs: what is compared.

    """

    jobs: ClassVar[Mapping[str, Job]]

    def cases(self, contenders: Sequence[Contender]) -> list[Case]:
        """As `Scenario.cases`: Countersign once for each job."""
        return [
            Case(name, each, job)
            for each in contenders
            if each.name == "countersign"
            for name, job in self.jobs.items()
        ]
