"""Caddy, a Go reverse proxy: what the goals are measured against."""

from __future__ import annotations

from typing import ClassVar

from bench.contenders import TOKEN, DebianContender, Job, Site
from bench.process import said

_CONFIG = """
{{
  admin off
  auto_https off
}}
http://:{site.port} {{
  bind 127.0.0.1
  {log}
  reverse_proxy {site.api} {{
    header_up Authorization "Bearer {token}"
  }}
}}
"""


class Caddy(DebianContender):
    """Its metrics are off, as it has them."""

    name: ClassVar[str] = "caddy"

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`."""
        log = f"log {{\n    output file {site.home}/access.log\n  }}" if job.access_log else ""
        config = site.home / "Caddyfile"
        config.write_text(_CONFIG.format(site=site, log=log, token=TOKEN))
        return ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]

    def about(self) -> str:
        """As `Contender.about`."""
        return said("caddy", "version")
