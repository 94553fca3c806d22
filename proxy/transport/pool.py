"""The connections of one origin: as many as are needed at once, and the idle ones for a while.

The one that was used last is used first, so that the others can grow old and be closed.
"""

from __future__ import annotations

import asyncio
import weakref

from proxy.errors import ConnectionTerminated
from proxy.transport.connection import Connection
from proxy.transport.keepalive import MARGIN
from proxy.transport.resumption import Resuming

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()  # all there are: they share the files that may be open
_PROBATION = 60.0  # seconds without reuse after an upstream sent bytes that belong to no answer


class Reservation:
    """Keeps one connection for the requests of an auth flow, since NTLM and Negotiate authenticate a connection.

    Between two requests of the flow no other request uses the connection. If it can't be used any more, the next
    request gets another one, which is kept from then on. The requests have it as ``extensions["reservation"]``. It
    has to be released when the flow ends.
    """

    __slots__ = ("_connection", "_pool")

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._pool: Pool | None = None  # while the connection is idle

    def release(self) -> None:
        """End it: the connection is for any request again, at once or when its response is complete."""
        connection, pool = self._connection, self._pool
        self.lost()
        if connection is not None and pool is not None:
            pool.released(connection)

    # -- the pool's side -------------------------------------------------------------------------

    def keep(self, connection: Connection) -> None:
        """Keep this one from now on, in place of any other."""
        if self._connection is not connection:
            if self._connection is not None:
                self._connection.reservation = None
            self._connection = connection
            connection.reservation = self
        self._pool = None

    def returned(self, pool: Pool) -> None:
        """Note that the connection is idle."""
        self._pool = pool

    def lost(self) -> None:
        """Forget the connection."""
        if self._connection is not None:
            self._connection.reservation = None
        self._connection = self._pool = None

    @property
    def idle(self) -> Connection | None:
        """The connection, if it waits for the flow's next request."""
        return self._connection if self._pool is not None else None


class Pool:
    """Keeps connections.

    Args:
        expiry: seconds that an idle connection is kept.
        loop: the event loop that it lives in.
        sessions: where the connections' TLS sessions are kept, if they have TLS.

    """

    def __init__(self, expiry: float, loop: asyncio.AbstractEventLoop, sessions: Resuming | None = None) -> None:
        self._expiry = expiry
        self._loop = loop
        self._sessions = sessions
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._trusted_from = 0.0
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False
        _pools.add(self)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    def take(self) -> Connection | None:
        """Return an idle connection that is still good, or None."""
        while self._idle:
            connection = self._idle.pop()
            if (connection.idle_time is None and connection.is_fresh()) or self._is_good(connection):
                return connection
        return None

    def take_reserved(self, reservation: Reservation) -> Connection | None:
        """Return the idle connection of a reservation, or else as `take`."""
        connection = reservation.idle
        if connection is None:
            return self.take()
        reservation.lost()
        now = self._loop.time()
        if now < self._trusted_from or now >= connection.idle_since + self._expiry:
            connection.close()
        elif self._is_good(connection, 0.0):
            return connection
        return self.take()

    def _is_good(self, connection: Connection, margin: float = MARGIN) -> bool:
        """Whether an idle connection may be used, and is so until `margin` before its time; it is closed if not."""
        idle_time = connection.idle_time
        if idle_time is not None and self._loop.time() >= connection.idle_since + idle_time - margin:
            connection.close()
            return False
        if connection.is_fresh():
            return True
        if connection.last_words():
            self.distrusted()
        connection.cut()
        return False

    def check(self) -> None:
        """See that connections may still be made.

        Raises:
            ConnectionTerminated: all was closed.

        """
        if self._closed:
            raise ConnectionTerminated("the transport is closed")

    def add(self, connection: Connection) -> None:
        """Know of a new one, which is busy."""
        self._open.add(connection)

    # -- the connections' side -------------------------------------------------------------------

    def proven(self, connection: Connection) -> None:
        """Keep what makes the next connection cheaper."""
        if self._sessions is not None and connection.tls is not None:
            self._sessions.keep(connection.tls)

    def released(self, connection: Connection) -> None:
        """Have one back."""
        now = connection.idle_since = connection.active
        if self._closed or now < self._trusted_from:
            connection.close()
            return
        if connection.reservation is not None:
            connection.reservation.returned(self)
            return
        if connection.idle_time is not None and connection.idle_time <= MARGIN:
            connection.close()
            return
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._expiry, self._close_old)

    def distrusted(self) -> None:
        """Use no connection twice for a while: stray bytes that come late would be read as an answer."""
        self._trusted_from = self._loop.time() + _PROBATION
        self._close_idle()

    def lost(self, connection: Connection) -> None:
        """Forget one."""
        if connection.reservation is not None:
            connection.reservation.lost()
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    # -- ends ------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close all connections at once; returns when they are."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in tuple(self._open):
            connection.cut()
        if self._open:
            self._emptied = self._loop.create_future()
            await self._emptied

    def make_room(self) -> None:
        """Close what is idle in any pool of this event loop: this process can't open another file."""
        for pool in tuple(_pools):
            if pool._loop is self._loop:
                pool._close_idle()

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _close_old(self) -> None:
        """Close what was idle for too long."""
        self._sweep = None
        latest = self._loop.time() - self._expiry
        old = [connection for connection in self._idle if connection.idle_since <= latest]
        self._idle = [connection for connection in self._idle if connection.idle_since > latest]
        for connection in old:
            connection.close()
        if self._idle:
            rest = min(connection.idle_since for connection in self._idle) - latest
            self._sweep = self._loop.call_later(rest, self._close_old)
