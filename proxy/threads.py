"""Blocking calls in threads of their own: a call that hangs takes no thread from anything else.

A thread can't be cancelled, so whatever may hang has its own `Threads`, with its own bound. They are daemons:
neither the end of the event loop nor the exit of the interpreter waits for them, as both do for those of a
``ThreadPoolExecutor``.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LINGER = 1.0  # seconds that an idle thread waits for the next call


class Threads(Executor):
    """Runs calls in at most `most` daemon threads, in the order in which they were submitted.

    Args:
        name: of the threads, for people.
        most: how many calls run at once; others wait. One that is cancelled while it waits never runs.

    """

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._most = most
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()  # Any: of as many types as calls
        self._changed = threading.Condition()
        self._threads = self._idle = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call when a thread is free.

        Raises:
            RuntimeError: after `shutdown`.
            OSError: the system has no thread for it.

        """
        if self._process != os.getpid():
            self._begin()  # a fork has none of its parent's threads
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("these threads have been shut down")
            self._waiting.append((future, lambda: fn(*args, **kwargs)))
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._most:
                self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Take no more calls; what was submitted still runs unless `cancel_futures`, and is never waited for."""
        with self._changed:
            self._closed = True
            while cancel_futures and self._waiting:
                self._waiting.popleft()[0].cancel()
            self._changed.notify_all()

    def _start(self) -> None:
        self._threads += 1
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:
            self._threads -= 1
            if not self._threads:
                self._waiting.pop()
                raise OSError(errno.ENOMEM, "no thread can be started") from None

    def _run(self) -> None:
        while (call := self._next()) is not None:
            future, work = call
            del call
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except Exception as failure:  # noqa: BLE001  # for whoever waits
                    future.set_exception(failure)
                except BaseException as failure:  # noqa: BLE001  # third-party code calls sys.exit()
                    # It must not arrive as such: an event loop ends with it, and so does the process.
                    future.set_exception(RuntimeError(f"{type(failure).__name__} in a thread"))
                else:
                    future.set_result(result)
                    del result
            del future, work  # an idle thread keeps nothing alive

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:  # Any: as above
        with self._changed:
            if not self._waiting and not self._closed:
                self._idle += 1
                self._changed.wait(_LINGER)
                self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None
