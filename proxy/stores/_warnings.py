"""Warnings whose causes may come thousands of times: a line a minute, with how often it has happened."""

from __future__ import annotations

import time
from collections.abc import Callable

INTERVAL = 60.0  # seconds


class RareWarning:
    """One kind of warning.

    Attributes:
        count: how often it happened.

    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._next = 0.0
        self.count = 0

    def __call__(self, text: str) -> None:
        """Count it, and warn unless there was a line of it within the last minute."""
        self.count += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._warn(f"{text} ({self.count} so far)")
