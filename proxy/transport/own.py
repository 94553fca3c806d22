"""What this process listens on itself: a connection that leads there is a loop.

Judged is the address that a connection has come to, whatever name led to it; the next time it may lead elsewhere.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable
from contextlib import suppress

from proxy.errors import LoopDetected

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class OwnAddresses:
    """Addresses that are this process's own; none at first."""

    def __init__(self) -> None:
        self._hosts: dict[int, set[_Address]] = {}  # by port
        self._paths: set[str] = set()

    def are(self, listening: Iterable[socket.socket]) -> None:
        """Take over those that sockets are bound to."""
        self._hosts, self._paths = {}, set()
        for sock in listening:
            name = sock.getsockname()
            if sock.family == socket.AF_INET or sock.family == socket.AF_INET6:
                self._hosts.setdefault(name[1], set()).add(_address(name[0]))
            else:
                self._paths.add(name)

    def refuse(self, wire: socket.socket, port: int) -> None:
        """Refuse a TCP connection that leads to one of them.

        Args:
            wire: the connection.
            port: that it leads to.

        Raises:
            LoopDetected: it does.

        """
        hosts = self._hosts.get(port)
        if hosts is None:
            return  # as nearly always, and for no system call
        with suppress(OSError):  # it has ended already; what it led to will show
            host = _address(wire.getpeername()[0])
            if host in hosts or (type(host)(0) in hosts and _is_here(host)):  # 0: all addresses of this machine
                raise LoopDetected

    def refuse_path(self, path: str) -> None:
        """Refuse a unix socket that is one of them by any name.

        Raises:
            LoopDetected: it is.

        """
        for own in self._paths:
            with suppress(OSError):
                if os.path.samefile(path, own):  # noqa: PTH121  # both are texts
                    raise LoopDetected


def _address(host: str) -> _Address:
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _is_here(host: _Address) -> bool:
    """Whether an address is this machine's: nobody can bind to another one."""
    if host.is_loopback:
        return True
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((str(host), 0))
        return True
    return False
