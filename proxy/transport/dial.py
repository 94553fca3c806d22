"""A connected socket: the name asked for anew each time, and the addresses raced (RFC 8305).

Failures leave here as the `OSError` that they were; no socket is left open by a failure or a cancellation.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any

HEAD_START = 0.25  # seconds that an address has before the next one is tried as well

Address = tuple[int, int, int, str, Any]  # as getaddrinfo returns it; the last part differs by family


async def dial(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to a host.

    Raises:
        socket.gaierror: the name has no address.
        OSError: no address can be reached; of several failures, a refusal rather than another.

    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
    return await race(interleave(found))


async def dial_unix(path: str) -> socket.socket:
    """Return a socket that is connected to a unix socket. Raises OSError."""
    return await _attempt((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path))


def interleave(addresses: Iterable[Address]) -> list[Address]:
    """Return addresses with their families in turn, the resolver's first first (RFC 8305, section 4)."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    turns = zip_longest(*families.values())
    return [address for address in chain.from_iterable(turns) if address is not None]


async def race(addresses: list[Address], head_start: float = HEAD_START) -> socket.socket:
    """Return the first socket that connects; the others are closed. Raises OSError."""
    if len(addresses) == 1:
        return await _attempt(addresses[0])
    queue = deque(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failures: list[BaseException] = []
    try:
        while queue or running:
            if queue:
                running.add(asyncio.create_task(_attempt(queue.popleft())))
            done, _ = await asyncio.wait(
                running, timeout=head_start if queue else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                running.discard(attempt)
                failure = attempt.exception()
                if failure is None:
                    running |= done - {attempt}
                    return attempt.result()
                failures.append(failure)
        raise _worst(failures)
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(_discard)


async def _attempt(address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    attempt = socket.socket(family, kind, protocol)
    try:
        attempt.setblocking(False)
        if family != socket.AF_UNIX:
            attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(attempt, where)
    except BaseException:
        attempt.close()
        raise
    return attempt


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that came too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _worst(failures: list[BaseException]) -> BaseException:
    """Return the failure that says most: somebody was there, but would not."""
    refusals = [failure for failure in failures if isinstance(failure, ConnectionRefusedError)]
    return (refusals or failures or [OSError("no address")])[0]
