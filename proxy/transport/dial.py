"""A connected socket: the name looked up for each one, and its addresses raced (RFC 8305, by aiohappyeyeballs).

Failures leave here as the `OSError` that they were; no socket is left open by a failure or a cancellation.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import aiohappyeyeballs

from proxy.transport.peers import trusted
from proxy.transport.resolve import Address, resolve

HEAD_START = 0.25  # seconds that an address has before the next one is tried as well


async def dial(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to a host.

    Raises:
        socket.gaierror: the name has no address.
        OSError: no address can be reached; of several failures, a refusal rather than another.
        UntrustedUpstream: as `trusted`.

    """
    try:
        found = await resolve(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return await race(trusted(found, port))


async def dial_unix(path: str) -> socket.socket:
    """Return a socket that is connected to a unix socket. Raises OSError."""
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix.setblocking(False)
        await asyncio.get_running_loop().sock_connect(unix, path)
    except BaseException:
        unix.close()
        raise
    return unix


async def race(addresses: list[Address], head_start: float = HEAD_START) -> socket.socket:
    """Return the first socket that connects; families take turns, and the others are closed. Raises OSError."""
    loop = _Loop(asyncio.get_running_loop())
    if not addresses:
        raise OSError("no address")
    try:
        return await aiohappyeyeballs.start_connection(
            addresses,
            happy_eyeballs_delay=head_start,
            loop=cast("asyncio.AbstractEventLoop", loop),
            socket_factory=loop.make_socket,
        )
    except OSError:
        pass  # of several failures, aiohappyeyeballs makes one that is none of them
    raise _worst(loop.failures)


class _Loop:
    """The event loop as aiohappyeyeballs uses it.

    Attributes:
        failures: why each address failed.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.failures: list[OSError] = []
        self._loop = loop
        self.create_future, self.create_task, self.call_later = loop.create_future, loop.create_task, loop.call_later

    def make_socket(self, address: Address) -> socket.socket:
        """Return a socket for an address."""
        try:
            made = socket.socket(*address[:3])
        except OSError as failure:
            self.failures.append(failure)
            raise
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return made

    async def sock_connect(self, made: socket.socket, where: Any) -> None:  # Any: as in `Address`
        """As the event loop's."""
        try:
            await self._loop.sock_connect(made, where)
        except OSError as failure:
            self.failures.append(failure)
            raise


def _worst(failures: list[OSError]) -> OSError:
    """Return the failure that says most: a host that is there, but refuses."""
    refusals = [failure for failure in failures if isinstance(failure, ConnectionRefusedError)]
    return (refusals or failures)[0]
