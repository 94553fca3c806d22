"""TCP over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
from typing import ClassVar

from proxy.gateway import Entrance
from proxy.listeners import BACKLOG, Factory, Listener, ListenError
from proxy.values import is_loopback

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.\-]+)):(\d{1,5})", re.ASCII)
_REASONS = {
    errno.EADDRINUSE: "is in use by another program; right would be another port, or 0 for any free one",
    errno.EACCES: "wants privileges; right would be a port above 1023",
    errno.EADDRNOTAVAIL: "is not an address of this machine; right would be 127.0.0.1 or another one that is",
    errno.EAFNOSUPPORT: "is of a kind that this machine does not have; right would be 127.0.0.1",
}


def split(address: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        ValueError: `address` is not of this kind.

    """
    match = _ADDRESS.fullmatch(address)
    if not match or int(match[3]) > 65535 or (match[1] and not _is_ipv6(match[1])):
        raise ValueError('not an address; right would be "127.0.0.1:8080", "[::1]:8080" or "unix:/run/x.sock"')
    return match[1] or match[2], int(match[3])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class Tcp(Listener):
    """``HOST:PORT``."""

    scheme: ClassVar[str] = "tcp"

    def __init__(self, entrance: Entrance, server: asyncio.Server, shown: str) -> None:
        self.entrance = entrance
        self.server = server
        self._shown = shown

    @classmethod
    def accepts(cls, address: str) -> bool:
        """As `Listener.accepts`."""
        return not address.startswith("unix:")

    @classmethod
    def check(cls, address: str) -> None:
        """As `Listener.check`."""
        split(address)

    @classmethod
    def is_local(cls, address: str) -> bool:
        """As `Listener.is_local`."""
        return is_loopback(split(address)[0])

    @classmethod
    async def open(cls, address: str, factory: Factory) -> Listener:
        """As `Listener.open`."""
        host, port = split(address)
        sock = _bind(address, host, port)
        bound = sock.getsockname()[1]
        entrance = Entrance(address, bound)
        try:
            # Listening is where a second program on the same port is found out.
            server = await asyncio.get_running_loop().create_server(factory(entrance), sock=sock, backlog=BACKLOG)
        except OSError as failure:
            sock.close()
            raise _refusal(address, failure) from None
        return cls(entrance, server, f"http://{_here(host)}:{bound}")

    @property
    def shown(self) -> str:
        """As `Listener.shown`."""
        return self._shown


def _here(host: str) -> str:
    """Return the host by which this machine reaches what listens on `host`, as URLs have it."""
    if ":" not in host:
        return "127.0.0.1" if host == "0.0.0.0" else host
    return "[::1]" if ipaddress.ip_address(host).is_unspecified else f"[{host}]"


def _bind(address: str, host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ListenError(f"{address}: the host can't be resolved; right would be 127.0.0.1") from None
    family, kind, proto, _, where = found[0]
    try:
        sock = socket.socket(family, kind, proto)
    except OSError as failure:
        raise _refusal(address, failure) from None
    try:
        # Without it a restart would have to wait for the connections of the last run to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.setblocking(False)
    except OSError as failure:
        sock.close()
        raise _refusal(address, failure) from None
    return sock


def _refusal(address: str, failure: OSError) -> ListenError:
    return ListenError(f"{address} {_REASONS.get(failure.errno or 0, failure.strerror)}")
