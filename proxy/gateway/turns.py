"""Requests that pass one at a time, since the API has refused their like for longer than any of them waits.

Nothing is refused here: a request that has waited for as long as it may is sent beside the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from proxy.clock import Clock, Timer
from proxy.errors import ShuttingDown
from proxy.gateway.throttle import FASTEST, SLOWEST


class OneAtATime:
    """The queue of one scope. It ends with its time, or with a request that is not refused.

    Args:
        ended: called when it has ended.

    """

    def __init__(self, clock: Clock, ended: Callable[[], None]) -> None:
        self._clock = clock
        self._ended = ended
        self._until = 0.0
        self._timer: Timer | None = None
        self._is_taken = False
        self._is_over = False
        self._queue: deque[asyncio.Future[bool]] = deque()

    def last(self, seconds: float) -> None:
        """Go on for `seconds` from now, or longer if that was set before."""
        self._until = max(self._until, self._clock.monotonic() + seconds)
        if self._timer is None:
            self._timer = self._clock.call_later(seconds, self._expire)

    def _expire(self) -> None:
        self._timer = None
        rest = self._until - self._clock.monotonic()
        if rest > 0:
            self.last(rest)
        else:
            self._end()

    async def turn(self, patience: float) -> Turn:
        """Wait until no other request has the turn, at most `patience` seconds.

        Raises:
            ShuttingDown: the route is closed.

        """
        if self._is_over:
            return Turn()
        if not self._is_taken:
            self._is_taken = True
            return Turn(self, is_next=True)
        passing: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append(passing)
        timer = self._clock.call_later(max(0.0, patience), partial(_let_pass, passing))
        try:
            return Turn(self, is_next=await passing)
        except asyncio.CancelledError:
            if not passing.cancelled() and passing.result():
                self._hand_over()  # it got the turn in the moment in which its client left
            raise
        finally:
            timer.cancel()

    def left(self, *, refused: bool, is_next: bool) -> None:
        """Take note of how a request ended that passed here; `is_next` if it had the turn."""
        if self._is_over:
            return
        if not refused:
            self._end()
        elif is_next:
            self._hand_over()

    def _hand_over(self) -> None:
        while self._queue:
            passing = self._queue.popleft()
            if not passing.done():
                passing.set_result(True)
                return
        self._is_taken = False

    def _end(self) -> None:
        """Let those who wait leave one by one, each a shorter pause after the one before."""
        self._stop()
        delay, pace = 0.0, SLOWEST
        for passing in self._queue:
            if not passing.done():
                self._clock.call_later(delay, partial(_let_pass, passing))
                delay += pace
                pace = max(FASTEST, pace * 0.7)
        self._queue.clear()
        self._ended()

    def _stop(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Refuse those who wait: the route is closed."""
        self._stop()
        for passing in self._queue:
            if not passing.done():
                passing.set_exception(ShuttingDown())
        self._queue.clear()


class Turn:
    """A request's leave to be sent.

    Args:
        queue: where it waited for that, if anywhere.
        is_next: whether it has the turn there, and no other request is sent until it ends.

    """

    def __init__(self, queue: OneAtATime | None = None, *, is_next: bool = False) -> None:
        self._queue = queue
        self._is_next = is_next

    def end(self, *, refused: bool) -> None:
        """Give it back; `refused` unless the API has sent a response that does not throttle."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.left(refused=refused, is_next=self._is_next)


def _let_pass(passing: asyncio.Future[bool]) -> None:
    if not passing.done():
        passing.set_result(False)
