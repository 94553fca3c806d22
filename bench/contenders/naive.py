"""aiohttp's server and `httpx.AsyncClient`, as one would first write it: see `bench/naive.py`."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import Contender, Job, Site
from bench.environment import ROOT
from bench.process import said

_VERSIONS = "import aiohttp, httpx; print(f'aiohttp {aiohttp.__version__}, httpx {httpx.__version__}')"


class Naive(Contender):
    """On Countersign's interpreter."""

    name: ClassVar[str] = "naive"

    def missing(self) -> str | None:
        """As `Contender.missing`: Countersign's environment has both libraries."""
        return None

    def can(self, job: Job) -> bool:
        """As `Contender.can`: it writes no log."""
        return super().can(job) and not job.access_log

    def command(self, site: Site, job: Job) -> list[str]:  # noqa: ARG002  # there is one that it can do
        """As `Contender.command`."""
        return [self.options.python, str(ROOT / "bench/naive.py"), str(site.port), f"http://{site.api}"]

    def about(self) -> str:
        """As `Contender.about`."""
        return said(self.options.python, "-c", _VERSIONS)
