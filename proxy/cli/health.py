"""``countersign health``: ask a running proxy whether it is alive, for ``HEALTHCHECK``."""

from __future__ import annotations

import http.client
import socket
import sys
from pathlib import Path

import click

from proxy import runfile
from proxy.cli import config_option, echo, told
from proxy.errors import ConfigError, CountersignError
from proxy.layers import ADMIN, gather, merged

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
        ConfigError: `address` is none.
        Unhealthy: nobody answers there.

    """
    connection = _connection(address)
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


def _connection(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:/"):
        return _UnixConnection(address.removeprefix("unix:"))
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError('the address of the admin listener is malformed; expected one such as "127.0.0.1:8081"')
    # Where it listens everywhere, it is also here.
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    return http.client.HTTPConnection(host, int(port), timeout=PATIENCE)


def configured(config: Path | None) -> str:
    """Return where the admin listener is; `demo` and `run --to` have one without any file.

    Where none is configured it may be on a free port, since the default one was taken.
    Only this one key is judged: a process that runs well is not ill because a file has been broken since.

    Raises:
        ConfigError: the configuration can't be read.

    """
    layers = gather(config, {}, need_file=False)
    server = merged(layers).get("server", {})
    if isinstance(server, dict) and "admin" not in server:
        return runfile.read(layers[0].file) or ADMIN
    admin = server.get("admin") if isinstance(server, dict) else None
    if not isinstance(admin, str):
        raise ConfigError('server.admin: is not an address; right would be "127.0.0.1:8081"')
    return admin


@click.command("health")
@config_option
@click.option("--admin", metavar="ADDRESS", help="The admin listener, in place of the configured one.")
@click.option("--ready", is_flag=True, help="Also ask whether every credential can be had.")
@told
def command(config: Path | None, admin: str | None, ready: bool) -> None:
    """Exit with 0 if the running proxy is well, else with 1."""
    address = configured(config) if admin is None else admin
    if not address:
        raise ConfigError("server.admin is empty, so that there is nobody to ask; right would be an address")
    status, body = ask(address, "/readyz" if ready else "/healthz")
    echo(body.rstrip())
    sys.exit(0 if status == 200 else 1)
