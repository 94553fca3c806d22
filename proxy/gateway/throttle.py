"""A gate that holds requests until a time, because the API asked for it; `proxy.gateway.gates` says which one closes.

Requests that arrive while it is closed are queued. When the time is over they leave one by one with pauses between
them that become shorter; another refusal may close the gate again meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from proxy.clock import Clock
from proxy.errors import ShuttingDown, Throttled
from proxy.gateway.retry import LONGEST
from proxy.waiting import whole_seconds

SLOWEST = 0.1  # seconds between two requests after the gate opened …
FASTEST = 0.01  # … and what these pauses shrink to
_INSTANT = 1e-6  # seconds that are none: what is left by the rounding of a sum


class Gate:
    """A queue of requests.

    Args:
        opened: called when its queue is empty, and requests may pass without it.

    """

    def __init__(self, clock: Clock, opened: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._opened = opened
        self._until = 0.0
        self._pace = 0.0
        self._queue: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._porter: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request may pass without asking further."""
        return self._porter is None

    def close(self, seconds: float) -> None:
        """Let no request through for `seconds`; a longer time that was set before stands."""
        self._until = max(self._until, self._clock.monotonic() + min(seconds, LONGEST))
        self._pace = SLOWEST
        self._refuse_before(self._until)
        if self._porter is None:
            self._porter = asyncio.create_task(self._let_out(), name="throttle gate")

    def remaining(self) -> float:
        """Seconds until it opens."""
        rest = self._until - self._clock.monotonic()
        return rest if rest > _INSTANT else 0.0

    async def wait(self, patience: float) -> float:
        """Wait for one's turn, at most `patience` seconds; return the seconds waited.

        Raises:
            Throttled: it stays closed for longer.

        """
        if self.is_open:
            return 0.0
        started = self._clock.monotonic()
        deadline = started + patience
        if self._until > deadline:
            raise self._refusal()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((deadline, turn))
        await turn
        return self._clock.monotonic() - started

    def _refusal(self) -> Throttled:
        rest = whole_seconds(max(self.remaining(), self._pace))
        return Throttled(f"the API asked to wait; {rest} s are left", retry_after=rest)

    def _refuse_before(self, moment: float) -> None:
        """Refuse those whose patience ends before `moment`, and forget those who have gone."""
        waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        for deadline, turn in self._queue:
            if turn.done():
                continue
            if deadline < moment:
                turn.set_exception(self._refusal())
            else:
                waiting.append((deadline, turn))
        self._queue = waiting

    async def _let_out(self) -> None:
        """Let the queue out once the time is over, the one who waits longest first."""
        try:
            while True:
                while rest := self.remaining():
                    await self._clock.sleep(rest)
                self._refuse_before(self._clock.monotonic())
                if not self._queue:
                    return
                self._queue.popleft()[1].set_result(None)
                pace = self._pace
                self._pace = max(FASTEST, pace * 0.7)
                await self._clock.sleep(pace)
        finally:
            self._porter = None
            self._send_home()
            self._opened()

    def _send_home(self) -> None:
        for _, turn in self._queue:
            if not turn.done():
                turn.set_exception(ShuttingDown())
        self._queue.clear()

    async def aclose(self) -> None:
        """Send those home who still wait."""
        porter, self._porter = self._porter, None
        if porter is not None:
            porter.cancel()
            await asyncio.gather(porter, return_exceptions=True)
            # A task that is cancelled before its first step never gets to its end either.
            self._send_home()
