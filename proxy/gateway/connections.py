"""Who is connected: at most so many, none idle or in its head for too long, and how all of them end.

Slow heads shut nobody out: at the limit, who has been idle or in its head the longest makes room.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Protocol

from pydantic import Field

from proxy import files
from proxy.clock import Clock
from proxy.errors import Overloaded, ProxyError, RequestTimeout
from proxy.gateway.stalled import Stalled
from proxy.values import Duration, Model, Size

_TURN = 0.02  # seconds between two looks at who is idle, while all of them end
_SPARE = 8  # connections beyond the limit that are refused or closed, so that their clients can read why
_AT_ONCE = 200  # that are ended in a turn of the event loop: others wait meanwhile


class ConnectionSettings(Model):
    """What ``[server]`` says of clients' connections; times in seconds, sizes in bytes."""

    connections: int = Field(default=1024, ge=1)
    header_size: Size = 32 << 10
    header_timeout: Duration = 10.0
    body_timeout: Duration = 60.0
    keepalive: Duration = 75.0


class Client(Protocol):
    """A connection, as far as its end is concerned.

    Attributes:
        since: event loop time since when it is idle or in its head.
        in_head: whether it is in its head, and not idle.
        served: how many requests it has brought to their end.

    """

    since: float
    in_head: bool
    served: int

    @property
    def has_begun(self) -> bool:
        """Whether a byte has come of the head that it is in."""

    def refuse(self, error: ProxyError) -> None:
        """Answer what is no complete request yet, and close."""

    def force_close(self) -> None:
        """Close now."""

    def cut(self) -> None:
        """Close at once, whatever was not sent yet."""

    def cancel(self) -> None:
        """End the request under way."""


class Connections:
    """The connections of one server.

    Attributes:
        waiting: those that are idle or in their head, the one that is it longest first.
        closing: those that are served no more but have their descriptor still, the one that has been so longest first.
        draining: whether nobody shall stay.
        stalled: those that do not read.

    """

    def __init__(self, settings: ConnectionSettings, clock: Clock) -> None:
        self.settings = settings
        self.waiting: dict[Any, None] = {}  # Any: a Client, which the bases of its class do not know that they are
        self.closing: dict[Client, None] = {}
        self.draining = False
        self.stalled = Stalled()
        self._clock = clock
        self._room = files.room()
        self._loop = asyncio.get_running_loop()
        self._open: set[Client] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sweep: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open) + len(self.closing)

    @property
    def busy(self) -> int:
        """How many have a request under way."""
        return len(self._open) - len(self.waiting)

    def enter(self, client: Client) -> None:
        """Take a new one in, at the cost of the one that did nothing for the longest time if there are too many."""
        self._open.add(client)
        self._empty.clear()
        limit = min(self.settings.connections, self._room)
        idlest = next(iter(self.waiting), None)
        if len(self._open) <= limit:
            self.wait(client)
        elif idlest is None:
            client.refuse(Overloaded(retry_after=1))
        else:
            idlest.force_close()
            self.linger(idlest)
            self.wait(client)
        while len(self) > limit + _SPARE:
            self._cut_oldest()
        if self._sweep is None:
            self._sweep_later()

    def _cut_oldest(self) -> None:
        oldest = next(iter(self.closing))
        del self.closing[oldest]
        oldest.cut()

    def linger(self, client: Client) -> None:
        """Serve one no more; it counts until its descriptor is closed."""
        self.leave(client)
        self.closing[client] = None

    def leave(self, client: Client) -> None:
        """Forget one."""
        self._open.discard(client)
        self.waiting.pop(client, None)
        self.closing.pop(client, None)
        if not self._open:
            self._empty.set()

    def wait(self, client: Client) -> None:
        """Put one at the end of those that wait."""
        self.waiting.pop(client, None)
        self.waiting[client] = None
        client.since = self._loop.time()

    def _sweep_later(self) -> None:
        shortest = min(self.settings.header_timeout, self.settings.keepalive, self.settings.body_timeout or 1.0)
        self._sweep = self._loop.call_later(min(1.0, max(0.05, shortest / 4)), self._sweep_now)

    def _sweep_now(self) -> None:
        """End what waits or lets wait for too long. One timer for all: a timer for each request would cost more."""
        if self.settings.body_timeout:
            self.stalled.cut(self._loop.time(), self.settings.body_timeout)
        late = [client for client in self.waiting if self._is_late(client)]
        for client in late[:_AT_ONCE]:
            if client.in_head and client.has_begun:
                client.refuse(RequestTimeout("the head came too slowly"))
            else:
                client.force_close()
        if len(late) > _AT_ONCE:
            self._sweep = self._loop.call_later(_TURN, self._sweep_now)
        elif self._open or self.stalled:
            self._sweep_later()
        else:
            self._sweep = None

    def _is_late(self, client: Client) -> bool:
        patience = self.settings.header_timeout if client.in_head else self.settings.keepalive
        return self._loop.time() - client.since > patience

    async def settled(self) -> None:
        """Wait until every request that is under way now has come to its end."""
        busy = {client: client.served for client in self._open if client not in self.waiting}
        while any(client in self._open and client.served == served for client, served in busy.items()):
            await self._clock.sleep(0.2)

    async def drain(self, grace: float) -> None:
        """Let requests under way come to their end, for `grace` seconds at most; end what is idle at once."""
        self.draining = True
        try:
            async with asyncio.timeout(grace):
                while self._open:
                    # Before who is idle is ended, and not after: a request may have come that was not read yet.
                    await self._emptied(_TURN)
                    self._end_idle()
        except TimeoutError:
            for client in list(self._open):
                client.cancel()
            # Who is cancelled still says so to its client.
            await asyncio.sleep(0.1)

    async def _emptied(self, patience: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._empty.wait()

    def _end_idle(self) -> None:
        for client in list(self.waiting):
            if not (client.in_head and client.has_begun):
                client.force_close()

    def close(self) -> None:
        """End all of them."""
        for client in list(self._open):
            client.cancel()
            client.force_close()
        if self._sweep is not None:
            self._sweep.cancel()
