"""One client who asks now and then, over a connection that it keeps and over a new one; and how long it waits."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.load import LoadError
from bench.load.plain import ask, connected

_PAUSE = 0.01  # seconds


class Polite:
    """The client.

    Attributes:
        errors: how many of its requests were not answered with 200.

    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._waits: list[float] = []
        self._kept: socket.socket | None = None
        self.errors = 0

    def ask_until(self, condition: Callable[[], object]) -> None:
        """Ask until `condition` holds."""
        with ExitStack() as stack:
            while not condition():
                self._timed(lambda: self._ask_again(stack))
                self._timed(self._ask_anew)
                time.sleep(_PAUSE)

    def percentile(self, share: int) -> float:
        """Return what so many of a hundred waited for at most, in milliseconds."""
        return sorted(self._waits)[len(self._waits) * share // 100] * 1000

    def _ask_again(self, stack: ExitStack) -> None:
        """Ask over the connection that is kept; one that was closed meanwhile is replaced, as clients do."""
        if self._kept is not None:
            try:
                ask(self._kept)
            except (OSError, LoadError):
                self._kept = None
            else:
                return
        self._kept = stack.enter_context(connected(self._port))
        ask(self._kept)

    def _ask_anew(self) -> None:
        with connected(self._port) as sock:
            ask(sock)

    def _timed(self, request: Callable[[], None]) -> None:
        begin = time.monotonic()
        try:
            request()
        except (OSError, LoadError):
            self.errors += 1
        self._waits.append(time.monotonic() - begin)
