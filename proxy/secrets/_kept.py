"""Sources that take time, or another program, to ask: what they return is kept, and failures are followed by pauses.

However many requests want the secret, its origin is asked once at a time. A failed attempt is reported to all who
want the secret until the next one, and the pauses between attempts grow. A reload makes new sources, so it ends the
pause.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod

from pydantic import PrivateAttr

from proxy.errors import SecretError
from proxy.secrets import Source

SHORTEST, LONGEST, LONGEST_UNCHANGED = 1.0, 30.0, 60.0  # seconds


class KeptSource(Source):
    """A `Source` whose value is kept."""

    _kept: tuple[float, str] | None = PrivateAttr(default=None)
    _asking: asyncio.Task[str] | None = PrivateAttr(default=None)
    _unchanged: int = PrivateAttr(default=0)  # times in a row that it was read anew and was the same
    _failures: int = PrivateAttr(default=0)  # in a row
    _problem: str = PrivateAttr(default="")  # of the last attempt; empty if it succeeded
    _pause_until: float = PrivateAttr(default=0.0)  # after a failure, or before it is read anew

    @property
    @abstractmethod
    def lifetime(self) -> float:
        """Seconds that a value is kept."""

    @abstractmethod
    async def ask(self) -> str:
        """Return the text that the origin has now.

        Raises:
            SecretError: it can't be had.

        """

    async def read(self) -> str:
        """As `Source.read`; asked once, however many want it."""
        if self._kept is not None and time.monotonic() < self._kept[0]:
            return self._kept[1]
        return await self._asked(anew=False)

    async def read_anew(self) -> str:
        """As `Source.read_anew`; what stays the same is asked for after growing pauses only."""
        if self._kept is not None and not self._problem and time.monotonic() < self._pause_until:
            return self._kept[1]
        return await self._asked(anew=True)

    async def _asked(self, *, anew: bool) -> str:
        if self._asking is None or self._asking.done():
            if self._problem and time.monotonic() < self._pause_until:
                raise SecretError(self._problem)
            self._asking = asyncio.create_task(self._ask(anew=anew), name=f"secret of {self.where}")
        # Shielded: the request that asked first may be cancelled while others wait for the same result.
        return await asyncio.shield(self._asking)

    async def _ask(self, *, anew: bool) -> str:
        try:
            value = await self.ask()
            self._checked(value)
        except SecretError as failure:
            self._problem = str(failure)
            self._pause(min(SHORTEST * 2.0**self._failures, LONGEST))
            self._failures = min(self._failures + 1, 10)
            raise
        self._problem, self._failures = "", 0
        if anew and self._kept is not None and self._kept[1] == value:
            self._pause(min(2.0**self._unchanged, LONGEST_UNCHANGED))
            self._unchanged = min(self._unchanged + 1, 10)
        else:
            self._unchanged, self._pause_until = 0, 0.0
        self._kept = (time.monotonic() + self.lifetime, value)
        return value

    def _pause(self, seconds: float) -> None:
        self._pause_until = time.monotonic() + seconds
