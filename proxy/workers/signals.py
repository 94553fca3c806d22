"""Signals as bytes on a socket, for a process without an event loop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def heard() -> Iterator[socket.socket]:
    """Have `SIGNALS` arrive on a socket, a byte each: its number; the process ends with the block.

    Then they are ignored: Python's own handlers go with the interpreter, and a signal would kill what ends well.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        wakeup = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.set_wakeup_fd(wakeup)
