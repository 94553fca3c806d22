"""Lines to a descriptor, whose other end may be slow, full or gone: none of this holds the process up or ends it."""

from __future__ import annotations

import atexit
import errno
import io
import os
import socket
import stat
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from proxy.printable import printable_lines

_SOON, _LATER = 0.1, 1.0  # seconds after which what found no room is tried again
_MOST = 1 << 16  # bytes that wait for a descriptor that blocks
_DRAINING = 0.5  # seconds that the end of the process waits for these
_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS)
_AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)

_Send = Callable[[bytes], int]
"""Sends the beginning of some bytes at once, returns how many these were; raises OSError."""


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

    Where nobody reads the whole process would wait, so a line that doesn't fit is lost, and counted. Nor is half of
    one followed by the next.

    Attributes:
        regained: told how many lines were lost when one is taken again.

    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.regained: Callable[[int], None] = lambda _: None
        self._send = _sender(self, descriptor)
        self.forked()
        _all.add(self)

    def forked(self) -> None:
        """Begin anew in a forked process: threads, and what is not sent yet, are the other one's."""
        # The same thread may come again: a finalizer logs, too.
        self._lock = threading.RLock()
        self._retrying = False
        self._is_full = False  # rather than broken
        self._rest = b""
        self._lost = 0

    def write(self, text: str) -> None:
        """As `Lines.write`."""
        self.send(text.encode("utf-8", "backslashreplace"))

    def send(self, line: bytes) -> None:
        """Send a line, or lose it."""
        with self._lock:
            if self._sent(self._rest) and self._sent(line):
                self._tell()
            else:
                self._lost += 1

    def _sent(self, data: bytes) -> bool:
        """Send at least the beginning; the rest comes before the next line."""
        if not data:
            return True
        try:
            self._rest = data[self._send(data) :]
        except OSError as failure:
            self._is_full = failure.errno in _NO_ROOM
            if self._is_full:
                self._retry_later()
            return False
        if self._rest:
            self._is_full = True
            self._retry_later()
        return True

    def _tell(self) -> None:
        """Tell how many lines were lost; that is a line which may be lost itself."""
        if self._lost and not self._rest:
            lost, self._lost = self._lost, 0
            self.regained(lost)
            self._lost += lost - 1 if self._lost else 0

    def _retry_later(self) -> None:
        if not self._retrying:
            self._retrying = True  # before the thread begins: it ends when this is false
            self._retrying = _begun(self._retry)

    def _retry(self) -> None:
        """Send the rest, and tell what was lost, when there is room: no other line may follow."""
        pause = _SOON
        while self._retrying:
            time.sleep(pause)
            pause = min(_LATER, pause * 2)
            with self._lock:
                if self._sent(self._rest):
                    self._tell()
                self._retrying = self._is_full and bool(self._lost or self._rest)

    def flush(self) -> None:
        """As `Lines.flush`: it has."""

    def isatty(self) -> bool:
        """As `Lines.isatty`."""
        return os.isatty(self.descriptor)


# -- sending at once -----------------------------------------------------------------------------------------


def _sender(owner: Descriptor, descriptor: int) -> _Send:
    """Return what sends to it and never blocks.

    Whether a descriptor blocks is a property that others share who have it, such as the shell its terminal: it stays
    as it is.
    """
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # it is closed
        return partial(os.write, descriptor)
    if stat.S_ISSOCK(mode):
        sock = socket.socket(fileno=os.dup(descriptor))
        _close_with(owner, sock.close)
        return lambda data: sock.send(data, _AT_ONCE)
    if stat.S_ISREG(mode):
        return partial(os.write, descriptor)  # never waits for a reader
    with suppress(OSError):  # another user's, or not Linux
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        _close_with(owner, partial(os.close, own))
        return partial(os.write, own)
    return _Queue(descriptor).send


def _close_with(owner: Descriptor, close: Callable[[], None]) -> None:
    weakref.finalize(owner, close).atexit = False


class _Queue:
    """What waits for a descriptor that may block, in a thread of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.forked()
        _all.add(self)
        atexit.register(self.drain)

    def forked(self) -> None:
        """As `Descriptor.forked`."""
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._is_running = False

    def send(self, data: bytes) -> int:
        """As `_Send`: all of it is taken, or nothing."""
        with self._changed:
            if self._size + len(data) > _MOST:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            self._is_running = self._is_running or _begun(self._run)
            if not self._is_running:
                raise BlockingIOError(errno.EAGAIN, "no thread can be started")
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
        return len(data)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting[0]
            with suppress(OSError):
                while data:
                    data = data[os.write(self._descriptor, data) :]
            with self._changed:
                self._size -= len(self._waiting.popleft())
                self._changed.notify_all()

    def drain(self) -> None:
        """Wait shortly for what waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, _DRAINING)


def _begun(work: Callable[[], None]) -> bool:
    """Do something in a thread; return whether there is one, since there may be too many, or Python may be ending."""
    try:
        threading.Thread(target=work, name="stderr", daemon=True).start()
    except RuntimeError:
        return False
    return True


_all: weakref.WeakSet[Descriptor | _Queue] = weakref.WeakSet()


def _forked() -> None:
    for each in _all:
        each.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def drain() -> None:
    """Wait shortly for lines that are not written yet, before the process ends without Python's own end."""
    for each in list(_all):
        if isinstance(each, _Queue):
            each.drain()


# -- stdout and stderr ---------------------------------------------------------------------------------------


class _Raw(io.RawIOBase):
    def __init__(self, lines: Descriptor) -> None:
        self.lines = lines

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # Any: a buffer
        self.lines.send(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return self.lines.descriptor

    def isatty(self) -> bool:
        return self.lines.isatty()


class _Text(io.TextIOWrapper):
    def __init__(self, lines: Descriptor) -> None:
        # typeshed wants a buffer; all that is needed of one is what `_Raw` has.
        super().__init__(_Raw(lines), "utf-8", "backslashreplace", line_buffering=True)  # type: ignore[arg-type]  # see above
        self.lines = lines


def never_wait() -> None:
    """Have whatever this process prints from now on hold nothing up: it serves."""
    for name in ("stdout", "stderr"):
        with suppress(OSError, ValueError):  # a test's
            setattr(sys, name, _Text(Descriptor(getattr(sys, name).fileno())))


def stderr() -> Lines:
    """Return stderr, such that lines to it hold nothing up."""
    if isinstance(sys.stderr, _Text):
        return sys.stderr.lines
    try:
        return Descriptor(sys.stderr.fileno())
    except (OSError, ValueError):  # a test's
        return sys.stderr


def say(text: str) -> None:
    """Print lines on stderr, without what a terminal would obey.

    Past the buffer, which would keep what can't be written and complain at exit.
    """
    stderr().write(printable_lines(text) + "\n")


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
