"""Lines to a descriptor, whose other end may be slow, full or gone: none of this holds the process up or ends it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Lines(Protocol):
    """What a log needs of a stream."""

    def write(self, text: str, /) -> object:
        """Take a line, its end included."""

    def flush(self) -> None:
        """Have it leave."""

    def isatty(self) -> bool:
        """Whether a person reads it."""


class Descriptor:
    """A `Lines`: a write a line, and none is kept back.

    A pipe that nobody reads would let the whole process wait, so a line that doesn't fit is lost, and counted. Nor
    is half of one followed by the next.

    Attributes:
        regained: told how many lines were lost when one is taken again.

    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = _that_never_waits(descriptor)
        self._rest = b""
        self._lost = 0
        self.regained: Callable[[int], None] = lambda _: None

    def write(self, text: str) -> None:
        """As `Lines.write`."""
        if not self._send(self._rest) or not self._send(text.encode("utf-8", "backslashreplace")):
            self._lost += 1
        elif self._lost:
            lost, self._lost = self._lost, 0
            self.regained(lost)

    def _send(self, data: bytes) -> bool:
        """Send at least the beginning; the rest comes before the next line."""
        if data:
            try:
                self._rest = data[os.write(self._descriptor, data) :]
            except OSError:
                return False
        return True

    def flush(self) -> None:
        """As `Lines.flush`: it has."""

    def isatty(self) -> bool:
        """As `Lines.isatty`."""
        return os.isatty(self._descriptor)


def _that_never_waits(descriptor: int) -> int:
    """Return it, or if it is a pipe, another one to the same: whoever shares this one may want to wait."""
    with suppress(OSError):  # another user's, or not Linux
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return descriptor


def stderr() -> Lines:
    """Return stderr, such that lines to it hold nothing up."""
    try:
        return Descriptor(sys.stderr.fileno())
    except (OSError, ValueError):  # a test's
        return sys.stderr


def say(text: str) -> None:
    """Print on stderr, past the buffer, which would keep what can't be written and complain at exit."""
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError):  # a test's
        sys.stderr.write(text + "\n")
        return
    with suppress(OSError):
        os.write(descriptor, text.encode("utf-8", "backslashreplace") + b"\n")


def fill_in() -> None:
    """See that there are stdin, stdout and stderr.

    Python does without those that were closed, and what is opened next gets their number: a client, who would be sent
    what some library prints.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, number)
            if opened != number:
                os.close(opened)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))
