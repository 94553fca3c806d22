"""Who goes first: locks between the tasks of a loop, and locks that other processes see.

A lock between processes is a kernel lock (``flock``) on a file made for it, so it ends with its holder,
however that dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from filelock import FileLock

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.05
"""Seconds between two looks at a lock that another process holds."""


class TaskLocks:
    """An `asyncio.Lock` a name, for each event loop its own."""

    def __init__(self) -> None:
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()

    def of(self, name: str) -> asyncio.Lock:
        """Return the running loop's lock for `name`."""
        return self._loops.setdefault(asyncio.get_running_loop(), {}).setdefault(name, asyncio.Lock())


def _file_lock(path: Path) -> FileLock:
    from filelock import FileLock  # here, where it is needed: not at every start

    # Always a new instance: filelock's are reentrant, so two users of one would both be let in.
    return FileLock(path, mode=0o600, thread_local=False)


def _taken(lock: FileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


async def acquire(path: Path, threads: Executor) -> FileLock:
    """Take the lock file `path` for a task, which has to release it.

    It is asked for again and again in `threads`, each time for some 0.2 ms unless the disk hangs, rather than by
    a thread that waits: such a thread can't be cancelled, and would own the lock after the task has gone.
    (filelock's `AsyncFileLock` had faults of this kind in versions that we allow: tox-dev/filelock issues 640 and
    675.)

    Raises:
        OSError: the file can't be opened or locked.

    """
    lock, pause = _file_lock(path), FIRST_PAUSE

    def undo(attempt: Future[bool]) -> None:
        if not attempt.cancelled() and attempt.exception() is None and attempt.result():
            lock.release()

    while True:
        attempt = threads.submit(_taken, lock)
        try:
            if await asyncio.wrap_future(attempt):
                return lock
        except asyncio.CancelledError:
            attempt.add_done_callback(undo)
            raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def locked_in_thread(path: Path, patience: float) -> Iterator[None]:
    """Hold the lock file `path`, blocking this thread for at most `patience` seconds until it is free.

    Raises:
        TimeoutError: it is not free in time.
        OSError: the file can't be opened or locked.

    """
    lock = _file_lock(path)
    lock.acquire(timeout=patience, poll_interval=FIRST_PAUSE)
    try:
        yield
    finally:
        lock.release()


async def whatever_comes(work: asyncio.Future[T]) -> T:
    """Wait for `work` to end even when cancelled, so that no lock is given up while it is still going on."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as cancel:
            cancelled = cancel
    if cancelled is None:
        return work.result()
    work.exception()  # or asyncio logs that nobody looked at it
    raise cancelled
