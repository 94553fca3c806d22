"""A worker as its supervisor sees it, and how it is born: by a fork, which shares what is imported already."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from proxy import lines
from proxy.log import Log
from proxy.workers.channel import Channel
from proxy.workers.signals import SIGNALS


class Closeable(Protocol):
    """What belongs to the supervisor alone."""

    def close(self) -> None:
        """Close it."""


@dataclass(eq=False, slots=True)
class Child:
    """A worker.

    Attributes:
        share: which one it is, from 0 on.
        born: monotonic seconds.
        ready: whether it can accept clients.
        leaving: whether it will not accept any more.
        accepts: the shares that it was told to accept.
        failure: why it could not start.

    """

    share: int
    pid: int
    channel: Channel
    born: float
    ready: bool = False
    leaving: bool = False
    accepts: frozenset[int] = field(default=frozenset())
    failure: str = ""

    @property
    def serves(self) -> bool:
        """Whether it can be counted on."""
        return self.ready and not self.leaving

    def say(self, message: object, sockets: Iterable[socket.socket] = ()) -> None:
        """Tell it something."""
        self.channel.send(message, tuple(sockets))

    def kill(self) -> None:
        """End it at once, whatever it does."""
        os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> str:
        """Wait for its end, which is near; return how it died, empty if it ended well."""
        _, status = os.waitpid(self.pid, 0)
        self.channel.close()
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}" if code else ""


def fork(live: Callable[[], None], log: Log, strangers: Iterable[Closeable]) -> int:
    """Let `live` be the life of a new process.

    Args:
        live: never returns into the caller's frames: the process ends with it.
        log: what is told of an exception that nobody expected.
        strangers: closed there. A worker that held another one's channel would keep that from seeing its end.

    Returns:
        the process's id.

    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else it would be written twice
    # Signals wait: a handler of ours must not run in the new process.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _live(live, log, strangers, held)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return pid


def _live(live: Callable[[], None], log: Log, strangers: Iterable[Closeable], held: Iterable[int]) -> None:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        for stranger in strangers:
            stranger.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        live()
        code = 0
    except BaseException as failure:  # noqa: BLE001  # nothing of it may reach the supervisor's frames
        log.defect(failure)
    finally:
        lines.drain()
        os._exit(code)
