"""The API behind the proxies: nginx, since it costs the least."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import find
from bench.process import free_port, running

SMALL = 290  # bytes of a small answer
LARGE = 1 << 30  # bytes of a large one

_CONFIG = """
daemon off; user {user}; worker_processes 1; worker_rlimit_nofile 16384;
pid {home}/nginx.pid; error_log {home}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_max_body_size 0; sendfile on;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type text/plain; return 200 "{small}"; }}
    location = /large {{ root {home}; }}
  }}
}}
"""


@contextmanager
def serving(home: Path, core: int) -> Iterator[str]:
    """Run it until the end of the block; yields its HOST:PORT.

    Raises:
        StartError: it does not listen.

    """
    home.mkdir()
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(_CONFIG.format(home=home, user=getpass.getuser(), port=port, small="x" * SMALL))
    with (home / "large").open("wb") as large:
        large.truncate(LARGE)
    with running([find("nginx") or "nginx", "-c", str(config)], core, port, home / "log"):
        yield f"127.0.0.1:{port}"
