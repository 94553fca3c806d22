"""TCP over IPv4 and IPv6."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from proxy.gateway import Entrance
from proxy.listeners import AT_ONCE, BACKLOG, NOT_AN_ADDRESS, Listener, ListenError
from proxy.values import is_loopback

_Where = tuple[Any, ...]  # Any: as the socket module has it, for IPv4 and IPv6
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.\-]+)):(\d{1,5})", re.ASCII)
_REASONS = {
    errno.EADDRINUSE: "is in use by another program, maybe another countersign; "
    "expected another port, or 0 for any free one",
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
        raise ValueError(NOT_AN_ADDRESS)
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

    def __init__(self, address: str, sockets: Sequence[socket.socket]) -> None:
        super().__init__(address, sockets)
        port = sockets[0].getsockname()[1]
        self.entrance = Entrance(address, port, is_loopback(split(address)[0]))
        self._shown = f"http://{_here(split(address)[0])}:{port}"

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
    def bind(cls, address: str, shares: int = 1) -> Self:
        """As `Listener.bind`; where the system shares clients out between sockets, each process has its own."""
        family, where = _resolved(address)
        first = _listening(address, family, where)
        sockets = [first]
        if sys.platform == "linux" and shares > 1:
            # Only now: had the first one been bound with it, another program that sets it would have been no hindrance.
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            where = first.getsockname()  # with the port that it really has
            sockets += [_listening(address, family, where, reuse_port=True) for _ in range(1, shares)]
        return cls(address, sockets)

    async def _server(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(protocol, sock=sock, backlog=AT_ONCE, start_serving=False)

    @property
    def shown(self) -> str:
        """As `Listener.shown`."""
        return self._shown


def _here(host: str) -> str:
    """Return the host by which this machine reaches what listens on `host`, as URLs have it."""
    if ":" not in host:
        return "127.0.0.1" if host == "0.0.0.0" else host
    return "[::1]" if ipaddress.ip_address(host).is_unspecified else f"[{host}]"


def _resolved(address: str) -> tuple[socket.AddressFamily, _Where]:
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        raise ListenError(f"{address}: the host can't be resolved; right would be 127.0.0.1") from None
    family, _, _, _, where = found[0]
    return family, where


def _listening(address: str, family: socket.AddressFamily, where: _Where, *, reuse_port: bool = False) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as failure:
        raise _refusal(address, failure) from None
    try:
        # Without it a restart would have to wait for the connections of the last run to be forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        sock.listen(BACKLOG)  # where a second program on the same port is found out
        sock.setblocking(False)
    except OSError as failure:
        sock.close()
        raise _refusal(address, failure) from None
    return sock


def _refusal(address: str, failure: OSError) -> ListenError:
    missing = failure.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return ListenError(f"{address} {_REASONS.get(failure.errno or 0, failure.strerror)}", missing=missing)
