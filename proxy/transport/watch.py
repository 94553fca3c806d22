"""The time that an upstream has to do something: to send, or to take what is sent.

One timer goes on for many requests; it compares times when it fires and is never made anew for each of them.
Whatever moves writes `Watched.active`, and that is all that it costs.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Watched(Protocol):
    """What is watched: a connection.

    Attributes:
        active: the loop's time in seconds at which something moved last.

    """

    active: float

    @property
    def busy(self) -> bool:
        """Whether it owes an answer."""

    @property
    def excused(self) -> bool:
        """Whether it is the client's turn."""

    @property
    def uploading(self) -> bool:
        """Whether a body is being sent."""

    @property
    def unsent(self) -> int:
        """Bytes that the upstream has yet to take."""

    def late(self, *, unsent: int) -> None:
        """Hear that it took too long."""


class Watch:
    """Watches one connection."""

    __slots__ = ("_loop", "_patience", "_timer", "_unsent", "_watched")

    def __init__(self, watched: Watched, patience: float | None, loop: asyncio.AbstractEventLoop) -> None:
        self._watched = watched
        self._patience = patience or 0.0
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0

    def begin(self) -> None:
        """Note that a request begins."""
        self._watched.active = self._loop.time()
        if self._timer is None and self._patience:
            self._again(self._patience / 4 if self._watched.uploading else self._patience)

    def stop(self) -> None:
        """Stop watching for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._patience = 0.0

    def _again(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._check)

    def _check(self) -> None:
        self._timer = None
        watched = self._watched
        if not watched.busy:
            return
        now = self._loop.time()
        before, self._unsent = self._unsent, watched.unsent
        if watched.excused or (self._unsent and self._unsent != before):
            watched.active = now
        rest = watched.active + self._patience - now
        if rest <= 0:
            watched.late(unsent=self._unsent)
        else:
            # How slowly bytes are taken can only be seen by looking often.
            often = self._unsent or watched.uploading
            self._again(min(rest, self._patience / 4) if often else rest)
