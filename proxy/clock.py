"""The clock that everything asks, so that tests can hand in another.

``time`` is for what others told us (expiry dates), ``monotonic`` for what we measure.
"""

from __future__ import annotations

import asyncio
import time


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
