"""mitmproxy in reverse mode: a proxy in Python that many know."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import TOKEN, Contender, Job, Site
from bench.environment import MissingError, environment
from bench.process import said


class Mitmproxy(Contender):
    """Without its console, and streaming large bodies, which it would otherwise collect."""

    name: ClassVar[str] = "mitmproxy"

    def missing(self) -> str | None:
        """As `Contender.missing`."""
        try:
            environment("mitmproxy", "mitmproxy")
        except MissingError as failure:
            return str(failure)
        return None

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`; a line for each flow is what it prints."""
        return [
            _program(), "--mode", f"reverse:http://{site.api}",
            "--listen-host", "127.0.0.1", "--listen-port", str(site.port),
            "--modify-headers", f"/~q/Authorization/Bearer {TOKEN}",
            "--set", "stream_large_bodies=1m", "--set", f"confdir={site.home}",
            "--set", f"flow_detail={int(job.access_log)}",
        ]  # fmt: skip

    def about(self) -> str:
        """As `Contender.about`."""
        return said(_program(), "--version")


def _program() -> str:
    return str(environment("mitmproxy", "mitmproxy") / "mitmdump")
