"""Whose process is at the other end of a connection within this machine, as far as the system says so.

What other users listen on is not what the configuration meant: they would receive the credential.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from proxy.errors import UntrustedUpstream
from proxy.transport.resolve import Address

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # proc_pid_net(5)
_LISTENING = "0A"
_SYSTEM: str = sys.platform
_LOCAL_PEERCRED = 1  # unix(4) of macOS and FreeBSD, at level 0: struct xucred begins with its version and the user

_IP = IPv4Address | IPv6Address


def require_trusted(wire: socket.socket) -> None:
    """Refuse a connection to a unix socket on which another user, but root, listens.

    Raises:
        UntrustedUpstream: it is one.

    """
    user = _user_of(wire)
    if user is not None and user not in (0, os.geteuid()):
        raise UntrustedUpstream(
            f"user {user} listens on the unix socket; expected root or user {os.geteuid()}, or insecure = true"
        )


def _user_of(wire: socket.socket) -> int | None:
    """Return who listens at the other end; None where the system does not say."""
    if _SYSTEM == "linux":
        _, user, _ = struct.unpack("3i", wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(user) & 0xFFFFFFFF
    if _SYSTEM == "darwin" or _SYSTEM.startswith("freebsd"):  # pragma: no cover  # not where this is tested
        return int(struct.unpack_from("2I", wire.getsockopt(0, _LOCAL_PEERCRED, 128))[1])
    return None


def trusted(found: Sequence[Address], port: int) -> list[Address]:
    """Return those of a name's addresses that may be connected to.

    A name such as ``localhost`` means an address of each family. If different users listen on these, only those of
    this user and of root count.

    Raises:
        UntrustedUpstream: different users listen there, and none of them is this user or root.

    """
    addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    if len(set(addresses)) < 2 or not all(address.is_loopback for address in addresses):
        return list(found)
    owners = dict(_listening(port))
    users = [_owner(address, owners) for address in addresses]
    if len({user for user in users if user is not None}) < 2:
        return list(found)
    ours = [each for each, user in zip(found, users, strict=True) if user in (0, os.geteuid())]
    if not ours:
        raise UntrustedUpstream(
            "different users listen on the addresses of this name; expected the address that is meant, "
            f"such as {addresses[0]}, in place of the name"
        )
    return ours


def _owner(address: _IP, owners: dict[_IP, int]) -> int | None:
    """Return who gets connections to an address: who listens on just this one, or else on all of them."""
    wildcards: tuple[_IP, ...] = (IPv6Address(0),) if address.version == 6 else (IPv4Address(0), IPv6Address(0))
    return next((owners[each] for each in (address, *wildcards) if each in owners), None)


def _listening(port: int) -> Iterator[tuple[_IP, int]]:
    """Yield the addresses on which somebody listens at a port, and the user."""
    for table in _TABLES:
        try:
            with table.open(encoding="ascii") as lines:
                next(lines, None)
                for line in lines:
                    _, local, _, state, _, _, _, user, *_ = line.split()
                    if state != _LISTENING:
                        break  # those that listen are first; there may be thousands of others
                    address, _, number = local.partition(":")
                    if int(number, 16) == port:
                        yield _address(address), int(user)
        except (OSError, ValueError):
            continue  # not Linux, or not allowed


def _address(text: str) -> _IP:
    """Read an address: words of 32 bits, each in the machine's order of bytes."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    address = ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address
