"""Questions that a worker has to all workers, and what is known of those that can't answer any more."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from proxy.admin import PATIENCE
from proxy.report import Report, remains, total
from proxy.workers import Answer, Ask, Tell, Told, What
from proxy.workers.child import Child

_PATIENCE: dict[What, float] = {"reports": 2.0, "problems": PATIENCE + 1.0}  # seconds


@dataclass(eq=False, slots=True)
class _Question:
    what: What
    asker: Child
    number: int  # by which the asker knows it
    deadline: float
    awaited: set[Child]
    answers: dict[Child, Any] = field(default_factory=dict)  # Any: as `Told`


class Inquiries:
    """Those that are under way.

    Args:
        workers: those that can be asked.
        now: monotonic seconds.

    """

    def __init__(self, workers: Callable[[], Collection[Child]], now: Callable[[], float]) -> None:
        self._workers = workers
        self._now = now
        self._numbers = itertools.count()
        self._open: dict[int, _Question] = {}
        self._last: dict[Child, Report] = {}
        self._past = Report()

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do."""
        return min((question.deadline for question in self._open.values()), default=None)

    def ask(self, asker: Child, message: Ask) -> None:
        """Ask all workers; the asker is one of them."""
        awaited = set(self._workers())
        number = next(self._numbers)
        deadline = self._now() + _PATIENCE[message.what]
        question = _Question(message.what, asker, message.number, deadline, awaited)
        self._open[number] = question
        for worker in tuple(awaited):
            worker.say(Tell(message.what, number))
        self._close(number)

    def answer(self, worker: Child, message: Answer) -> None:
        """Take a worker's answer."""
        if isinstance(message.value, Report):
            self._last[worker] = message.value
        question = self._open.get(message.number)
        if question is not None:
            question.awaited.discard(worker)
            question.answers[worker] = message.value
            self._close(message.number)

    def bury(self, worker: Child) -> None:
        """Expect nothing of a worker any more; what it had counted stays counted."""
        self._past = total([self._past, remains(self._last.pop(worker, Report()))])
        for number, question in list(self._open.items()):
            question.awaited.discard(worker)
            question.answers.pop(worker, None)  # else it would be counted twice
            if question.asker is worker:
                del self._open[number]
            else:
                self._close(number)

    def expire(self) -> None:
        """Give up waiting for those who should have answered by now."""
        for number, question in list(self._open.items()):
            if self._now() >= question.deadline:
                self._close(number, late=True)

    def _close(self, number: int, *, late: bool = False) -> None:
        question = self._open[number]
        if question.awaited and not late:
            return
        del self._open[number]
        answers = list(question.answers.values())
        if question.what == "reports":
            answers += [self._past, *(remains(self._last.get(worker, Report())) for worker in question.awaited)]
        else:
            answers += [None] * len(question.awaited)
        question.asker.say(Told(question.number, tuple(answers)))
