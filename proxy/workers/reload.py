"""A reload of all workers: either all of them take a configuration over, or none."""

from __future__ import annotations

from collections.abc import Collection

from proxy import environment
from proxy.config import Settings
from proxy.listeners import Listener
from proxy.places import Place
from proxy.workers import GiveUp, Open, Stage, Staged, TakenOver, TakeOver
from proxy.workers.child import Child

PATIENCE = 60.0  # seconds; the commands of secrets have less


class Reload:
    """One that is under way.

    Args:
        number: tells it from earlier ones, of which late answers may come.
        settings: what is to be taken over.
        opened: the addresses that the old configuration did not have.
        now: monotonic seconds.

    Attributes:
        deadline: when `expire` has something to do, monotonic seconds.
        over: whether nothing more is to come.
        failure: why it came to nothing; empty if it did not.

    """

    def __init__(
        self, number: int, settings: Settings, opened: dict[Place, Listener], workers: Collection[Child], now: float
    ) -> None:
        self.number = number
        self.settings = settings
        self.opened = opened
        self.deadline = now + PATIENCE
        self.over = False
        self.failure = ""
        self._workers = set(workers)
        self._awaited = set(workers)
        self._taking_over = False

    def begin(self) -> None:
        """Have all of them stage it."""
        order = Stage(self.number, self.settings, dict(environment.variables.maps[1]))
        for worker in self._workers:
            for place, listener in self.opened.items():
                worker.say(Open(place), listener.sockets)
            worker.say(order)
        self._go_on()

    def answer(self, worker: Child, message: Staged | TakenOver) -> None:
        """Take a worker's answer."""
        if message.number != self.number:
            return
        if isinstance(message, Staged) and message.failure:
            self.failure = self.failure or message.failure
        self._awaited.discard(worker)
        self._go_on()

    def bury(self, worker: Child) -> None:
        """Expect nothing of a worker any more: it has ended, or will."""
        self._workers.discard(worker)
        if worker in self._awaited and not self._taking_over:
            self.failure = self.failure or "a worker ended meanwhile"
        self._awaited.discard(worker)
        self._go_on()

    def expire(self, now: float) -> None:
        """Give up waiting for those who should have answered by now."""
        if self._taking_over:
            # Those who start in their place have the new configuration.
            self.deadline = now + PATIENCE
            for worker in self._awaited:
                worker.kill()
        else:
            names = ", ".join(f"worker {worker.share + 1}" for worker in self._awaited)
            self.failure = self.failure or f"no answer within {PATIENCE:.0f} s from {names}"
            self._awaited.clear()
            self._go_on()

    def _go_on(self) -> None:
        if self._awaited or self.over:
            return
        if self.failure:
            self.give_up()
        elif self._taking_over:
            self.over = True
        else:
            self._taking_over = True
            self._awaited = set(self._workers)
            for worker in self._workers:
                worker.say(TakeOver(self.number))
            self._go_on()  # if nobody is there

    def give_up(self) -> None:
        """Leave everything as it was."""
        self.over = True
        for worker in self._workers:
            worker.say(GiveUp())
        for listener in self.opened.values():
            listener.close()
