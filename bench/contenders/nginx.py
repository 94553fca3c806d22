"""nginx: how little a request can cost."""

from __future__ import annotations

import getpass
from typing import ClassVar

from bench.contenders import TOKEN, DebianContender, Job, Site, find
from bench.process import said

_CONFIG = """
daemon off; user {user}; worker_processes 1; worker_rlimit_nofile 16384;
pid {site.home}/nginx.pid; error_log {site.home}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log {access_log}; keepalive_requests 100000000; client_max_body_size 0;
  client_body_temp_path {site.home}/body; proxy_temp_path {site.home}/proxy;
  fastcgi_temp_path {site.home}/fastcgi; uwsgi_temp_path {site.home}/uwsgi; scgi_temp_path {site.home}/scgi;
  upstream api {{ server {site.api}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    location / {{
      proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Authorization "Bearer {token}";
      proxy_request_buffering off; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Nginx(DebianContender):
    """One worker."""

    name: ClassVar[str] = "nginx"

    def command(self, site: Site, job: Job) -> list[str]:
        """As `Contender.command`."""
        access_log = f"{site.home}/access.log" if job.access_log else "off"
        config = site.home / "nginx.conf"
        config.write_text(_CONFIG.format(site=site, user=getpass.getuser(), access_log=access_log, token=TOKEN))
        return [find("nginx") or "nginx", "-c", str(config)]

    def about(self) -> str:
        """As `Contender.about`."""
        return said(find("nginx") or "nginx", "-v")
