"""Addresses of host names. A name server that hangs for one name delays nothing but that name.

``getaddrinfo`` blocks and can't be cancelled. So each name has threads of its own, a few at most, and all who
wait for the same name wait for the same lookup. An IP address needs neither lookup nor thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from proxy.threads import Threads

AGAIN = 5.0  # seconds after which a lookup that has not ended is no longer relied on, and another one starts
MOST = 4  # lookups of one name that run at once

Address = tuple[int, int, int, str, Any]  # as getaddrinfo returns it; the last part differs by family
Key = tuple[Any, ...]  # the arguments of getaddrinfo


class _Name:
    """The lookups of one name that are running.

    Args:
        key: what is looked up.
        over: called when none is running any more.

    Attributes:
        running: how many there are; one that has been given up is among them until it ends.
        found: the future that everyone waits for who needs the name.

    """

    def __init__(self, key: Key, over: Callable[[], None]) -> None:
        self.running = 0
        self._key = key
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._threads = Threads("resolver", MOST)
        self._started: float | None = None
        self.found = self._future()

    def look_up(self) -> None:
        """Start a lookup, unless there is one that may still be relied on, or there are too many.

        Raises:
            OSError: there is no thread for it.

        """
        now = self._loop.time()
        if self.running == MOST or (self._started is not None and now - self._started < AGAIN):
            return
        lookup = self._threads.submit(_look_up, self._key)
        self.running += 1
        self._started = now
        lookup.add_done_callback(self._tell)

    def _tell(self, lookup: Future[list[Address]]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._end, lookup)

    def _end(self, lookup: Future[list[Address]]) -> None:
        self.running -= 1
        self._started = None
        failure = lookup.exception()
        if failure is None:
            self.found.set_result(lookup.result())
            self.found = self._future()
        elif not self.running:  # else another one may still find it
            self.found.set_exception(failure)
            self.found = self._future()
        if not self.running:
            self._over()

    def _future(self) -> asyncio.Future[list[Address]]:
        future: asyncio.Future[list[Address]] = self._loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits any more
        return future


_names: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Key, _Name]] = WeakKeyDictionary()


async def resolve(
    host: bytes | str | None,
    port: bytes | str | int | None,
    family: int = 0,
    type: int = 0,  # noqa: A002  # as getaddrinfo names it
    proto: int = 0,
    flags: int = 0,
) -> list[Address]:
    """Return the addresses of a host, as ``socket.getaddrinfo`` does.

    Raises:
        socket.gaierror: the name has none.
        UnicodeError: it is no name.
        OSError: there is no thread for a lookup.

    """
    if isinstance(host, str) and _is_address(host):
        return list(socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST))
    names = _names.setdefault(asyncio.get_running_loop(), {})
    key = (host, port, family, type, proto, flags)
    name = names.get(key) or _Name(key, lambda: names.__delitem__(key))
    name.look_up()
    names[key] = name
    # Shielded: others may wait for the same lookup.
    return await asyncio.shield(name.found)


def _look_up(key: Key) -> list[Address]:
    return list(socket.getaddrinfo(*key))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
