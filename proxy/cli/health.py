"""``countersign health``: ask a running proxy whether it is alive, for ``HEALTHCHECK``."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path

import click

from proxy import environment
from proxy.cli import config_option, told
from proxy.errors import ConfigError, CountersignError

PATIENCE = 3.0  # seconds


class Unhealthy(CountersignError):
    """It does not answer, or not well."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def ask(address: str, path: str) -> tuple[int, str]:
    """Return status and body of an admin page.

    Raises:
        Unhealthy: nobody answers there.

    """
    connection: http.client.HTTPConnection
    if address.startswith("unix:"):
        connection = _UnixConnection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        # Where it listens everywhere, it is also here.
        host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as failure:
        raise Unhealthy(
            f"no answer from {address}: {getattr(failure, 'strerror', None) or type(failure).__name__}"
        ) from None
    finally:
        connection.close()


def configured(config: Path | None) -> str:
    """Return where the admin listener is; `demo` and `run --to` have one without any file.

    Raises:
        ConfigError: the configuration is wrong.

    """
    from proxy.config import PREFIX, ServerSettings, find, load  # takes longer than the question itself

    if config is not None or find() is not None:
        return load(config).server.admin
    environment.read_dotenv()
    return environment.variables.get(f"{PREFIX}SERVER__ADMIN", ServerSettings().admin)


@click.command("health")
@config_option
@click.option("--admin", metavar="ADDRESS", help="The admin listener, in place of the configured one.")
@click.option("--ready", is_flag=True, help="Also ask whether every credential can be had.")
@told
def command(config: Path | None, admin: str | None, ready: bool) -> None:
    """Exit with 0 if the running proxy is well, else with 1."""
    if admin is None:
        admin = configured(config)
    if not admin:
        raise ConfigError("server.admin is empty, so that there is nobody to ask")
    status, body = ask(admin, "/readyz" if ready else "/healthz")
    click.echo(body.rstrip())
    sys.exit(0 if status == 200 else 1)
