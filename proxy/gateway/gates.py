"""Which requests of a route wait because the API refused others: what `retry.gate` says.

A scope is what a gate is for: a method and path, or the whole route. A first refusal tells nothing about other
requests; a second one within its time closes the gate for what the two have in common.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from proxy.clock import Clock
from proxy.gateway.retry import LONGEST, GateMode
from proxy.gateway.throttle import Gate
from proxy.gateway.turns import OneAtATime, Turn

ROUTE = ""  # the scope of all requests
MOST = 256  # scopes that are remembered for a route


class Refusal(NamedTuple):
    """A response that says to wait.

    Attributes:
        request: the ID of the request, the same for all its attempts.
        scope: as `scope_of`.
        seconds: how long to wait.
        is_stated: whether the API said so, and not a backoff.
        is_wide: whether it may concern more than its path; a 503 does not.

    """

    request: str
    scope: str
    seconds: float
    is_stated: bool
    is_wide: bool


def scope_of(method: str, target: bytes) -> str:
    """Return the scope of a method and a path, without the query; hashed, for it is shared with other processes."""
    return sha256(b"%b %b" % (method.encode(), target.partition(b"?")[0])).hexdigest()[:32]


class Refusals:
    """The refusal of each scope whose time lasts longest, until then; of the latest `MOST` scopes only."""

    def __init__(self) -> None:
        self._latest: dict[str, tuple[float, Refusal]] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, refusal: Refusal, now: float) -> str | None:
        """Return the scope that a refusal has in common with that of another request, if there is one."""
        known = {scope: entry for scope, entry in self._latest.items() if entry[0] > now}
        until = now + min(refusal.seconds, LONGEST)
        earlier = known.pop(refusal.scope, (until, refusal))
        if len(known) >= MOST:
            del known[next(iter(known))]
        is_shared = refusal.is_wide and any(other.is_wide for _, other in known.values())
        known[refusal.scope] = earlier if earlier[0] > until else (until, refusal)
        self._latest = known
        if earlier[1].request != refusal.request:
            return refusal.scope
        return ROUTE if is_shared else None

    def forget(self, scope: str) -> None:
        """Drop what is known of a scope."""
        if scope == ROUTE:
            self._latest.clear()
        else:
            self._latest.pop(scope, None)


class Gates:
    """The gates of a route.

    Args:
        mode: ``retry.gate``.
        max_wait: seconds that a request may wait; a longer time closes nothing but in mode ``route``.

    Attributes:
        is_open: whether no request waits. All that a request asks for if there is nothing to wait for.
        share: called with scope and seconds of each gate that closes, to be shared with other processes.

    """

    def __init__(self, clock: Clock, mode: GateMode, max_wait: float) -> None:
        self.is_open = True
        self.share: Callable[[str, float], None] = lambda scope, seconds: None  # noqa: ARG005  # no other process
        self._clock = clock
        self._mode = mode
        self._max_wait = max_wait
        self._closed: dict[str, Gate] = {}
        self._queues: dict[str, OneAtATime] = {}
        self._short = Refusals()
        self._long = Refusals()

    # -- closing -------------------------------------------------------------------------------------

    def refused(self, refusal: Refusal) -> bool:
        """Take note of a refusal; return whether it closed a gate at which its own request waits, too."""
        if self._mode == "route":
            return self._close(ROUTE, refusal.seconds)
        if self._mode == "off" or not refusal.is_stated:
            return False
        now = self._clock.monotonic()
        if refusal.seconds <= self._max_wait:
            scope = self._short.add(refusal, now)
            return scope is not None and self._close(scope, refusal.seconds)
        scope = self._long.add(refusal, now)
        if scope is not None:
            self._queue_up(scope, refusal.seconds)
        return False

    def _close(self, scope: str, seconds: float) -> bool:
        if not self._hold(scope, seconds):
            return False
        self.share(scope, seconds)
        return True

    def hold(self, scope: str, seconds: float) -> None:
        """Close a gate since the API refused requests of another process."""
        if self._mode == "route" or (self._mode == "auto" and seconds <= self._max_wait):
            self._hold(scope, seconds)

    def _hold(self, scope: str, seconds: float) -> bool:
        gate = self._closed.get(scope)
        if gate is None:
            if scope != ROUTE and len(self._closed) >= MOST:
                return False
            gate = self._closed[scope] = Gate(self._clock, partial(self._opened, scope))
        gate.close(seconds)
        self.is_open = False
        return True

    def _queue_up(self, scope: str, seconds: float) -> None:
        queue = self._queues.get(scope)
        if queue is None:
            if scope != ROUTE and len(self._queues) >= MOST:
                return
            queue = self._queues[scope] = OneAtATime(self._clock, partial(self._queue_ended, scope))
        queue.last(min(seconds, LONGEST))
        self.is_open = False

    def _opened(self, scope: str) -> None:
        self._closed.pop(scope, None)
        self.is_open = not self._closed and not self._queues

    def _queue_ended(self, scope: str) -> None:
        self._queues.pop(scope, None)
        self._long.forget(scope)
        self.is_open = not self._closed and not self._queues

    # -- passing -------------------------------------------------------------------------------------

    async def enter(self, method: str, target: bytes, patience: float) -> tuple[float, Turn]:
        """Wait for the turn to send a request, at most `patience` seconds; return the seconds waited and the turn.

        Raises:
            Throttled: a gate stays closed for longer.
            ShuttingDown: the route is closed.

        """
        scope = scope_of(method, target)
        waited = 0.0
        passed: list[Gate] = []
        while (gate := self._next_gate(scope, passed)) is not None:
            waited += await gate.wait(patience - waited)
            passed.append(gate)
        queue = self._queues.get(ROUTE) or self._queues.get(scope)
        if queue is None:
            return waited, Turn()
        begin = self._clock.monotonic()
        turn = await queue.turn(patience - waited)
        return waited + self._clock.monotonic() - begin, turn

    def _next_gate(self, scope: str, passed: list[Gate]) -> Gate | None:
        for gate in (self._closed.get(scope), self._closed.get(ROUTE)):
            if gate is not None and (gate not in passed or gate.remaining()):
                return gate
        return None

    def remaining(self) -> float:
        """Seconds until the last of them opens."""
        return max((gate.remaining() for gate in self._closed.values()), default=0.0)

    async def aclose(self) -> None:
        """Refuse the requests that wait."""
        for queue in list(self._queues.values()):
            queue.close()
        self._queues.clear()
        await asyncio.gather(*(gate.aclose() for gate in list(self._closed.values())))
        self._closed.clear()
        self.is_open = True
