"""The clock that everything asks, so that tests can hand in another.

``time`` is for what others told us (expiry dates), ``monotonic`` for what we measure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that is to happen."""

    def cancel(self) -> object:
        """See that it doesn't."""


class Clock:
    """The real one."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; never jumps."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` in the running loop when `seconds` have passed, unless it is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, callback)
