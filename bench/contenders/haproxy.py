"""HAProxy."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import TOKEN, DebianContender, Job, Site, find
from bench.process import said

_CONFIG = """
global
  nbthread 1
  maxconn 8000
  {log}
defaults
  mode http
  timeout connect 5s
  timeout client 90s
  timeout server 90s
  {each}
frontend clients
  bind 127.0.0.1:{site.port}
  http-request set-header Authorization "Bearer {token}"
  default_backend api
backend api
  server api {site.api}
"""


class Haproxy(DebianContender):
    """One thread."""

    name: ClassVar[str] = "haproxy"

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`; what it prints goes to a file."""
        log, each = ("log stdout format raw local0", "log global\n  option httplog") if job.access_log else ("", "")
        config = site.home / "haproxy.cfg"
        config.write_text(_CONFIG.format(site=site, log=log, each=each, token=TOKEN))
        return [find("haproxy") or "haproxy", "-db", "-f", str(config)]

    def about(self) -> str:
        """As `Contender.about`."""
        return said(find("haproxy") or "haproxy", "-v")
