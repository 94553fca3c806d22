"""Several credentials that take turns; one that the API refuses or throttles has a rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import httpx

from proxy.clock import Clock
from proxy.credentials import Context, Scheme
from proxy.credentials._members import Choice, Members, MembersScheme
from proxy.credentials._unauthorized import Unauthorized
from proxy.waiting import is_throttling, told_wait

SHORTEST, LONGEST = 1.0, 60.0  # seconds of a rest that nobody told how long, doubled each time
LONGEST_TOLD = 3600.0


class Rotate(Choice):
    """``type = "rotate"``."""

    type: Literal["rotate"]

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        members = [(name, context.build(name)) for name in self.credentials]
        return RotateScheme(members, self.unauthorized, context.clock)


@dataclass(slots=True)
class _Rest:
    """How one member rests: until when (monotonic seconds), and how often in a row it had to."""

    until: float = 0.0
    times: int = 0


class RotateScheme(MembersScheme):
    """Each request begins with the next one that does not rest.

    A request that was refused with one goes on with another; if all of them rest, the last answer is handed on, and
    the one whose rest ends first is tried by the next request.
    """

    def __init__(self, members: Members, unauthorized: Unauthorized, clock: Clock) -> None:
        super().__init__(members, unauthorized)
        self._clock = clock
        self._rests = [_Rest() for _ in members]
        self._turn = 0

    def order(self) -> Iterator[int]:
        """As `MembersScheme.order`; who rests is asked at each step, since other requests go on meanwhile."""
        count = len(self.members)
        turns = [(self._turn + step) % count for step in range(count)]
        self._turn = (self._turn + 1) % count
        if not any(self._is_free(index) for index in turns):
            yield min(turns, key=lambda index: self._rests[index].until)
            return
        for index in turns:
            if self._is_free(index):
                yield index

    def _is_free(self, index: int) -> bool:
        return self._rests[index].until <= self._clock.monotonic()

    async def refused(self, index: int, response: httpx.Response) -> bool:
        """As `MembersScheme.refused`.

        A 403 that throttles may have been executed: only who may repeat it goes on. A 503 is nobody's own.
        """
        throttled = response.status_code != 503 and is_throttling(response.status_code, response.headers.raw)
        if throttled:
            self._rest(index, told_wait(response.headers.raw, self._clock.time()))
            soonest = min(rest.until for rest in self._rests)
            response.extensions["wait"] = max(0.0, soonest - self._clock.monotonic())
        return response.status_code == 429 or (not throttled and await self._unauthorized.matches(response))

    def _rest(self, index: int, seconds: float | None = None) -> None:
        rest = self._rests[index]
        if seconds is None:
            seconds = min(SHORTEST * 2**rest.times, LONGEST)
        rest.times = min(rest.times + 1, 10)
        rest.until = max(rest.until, self._clock.monotonic() + min(seconds, LONGEST_TOLD))

    def failed(self, index: int) -> None:
        """As `MembersScheme.failed`."""
        if self._is_free(index):
            self._rest(index)

    def served(self, index: int) -> None:
        """As `MembersScheme.served`."""
        if self._is_free(index):
            self._rests[index].times = 0
