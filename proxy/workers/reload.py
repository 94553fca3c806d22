"""A reload of all workers: either all of them take a configuration over, or none."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future

from proxy import places
from proxy.config import Settings
from proxy.listeners import Listener
from proxy.places import Place
from proxy.reload import PATIENCE
from proxy.threads import Threads
from proxy.workers import GiveUp, Open, Stage, Staged, TakenOver, TakeOver
from proxy.workers.child import Child

_PAUSE = 0.02  # seconds between two looks at whether the configuration has been read


class Reading:
    """The configuration, being read in a thread: a disk may hang, and so may the import of third-party code.

    Args:
        reread: reads it.
        monotonic: the clock, in seconds.

    """

    def __init__(self, reread: Callable[[], Settings], monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._deadline = monotonic() + PATIENCE
        try:
            # Threads of its own: an earlier reading may still hang.
            self._read = Threads("configuration").submit(reread)
        except OSError as failure:
            self._read = Future()
            self._read.set_exception(failure)

    @property
    def next(self) -> float:
        """When to look at it again, monotonic seconds."""
        return self._monotonic() + _PAUSE

    @property
    def over(self) -> bool:
        """Whether there is a result, or none is waited for any more."""
        return self._read.done() or self._monotonic() >= self._deadline

    def settings(self) -> Settings:
        """Return what was read.

        Raises:
            TimeoutError: it took too long.
            CountersignError: it is no valid configuration.

        """
        return self._read.result(timeout=0)


class Reload:
    """One that is under way.

    Args:
        number: tells it from earlier ones, of which late answers may come.
        settings: what is to be taken over.
        bind: binds the addresses that the old configuration did not have.
        now: monotonic seconds.
        explained: returns for users what an exception means.

    Attributes:
        opened: the addresses that have been bound, and sent to the workers.
        deadline: when `expire` has something to do, monotonic seconds.
        over: whether nothing more is to come.
        failure: why it came to nothing; empty if it did not.

    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        bind: Callable[[], dict[Place, Listener]],
        workers: Collection[Child],
        now: float,
        explained: Callable[[Exception], str],
    ) -> None:
        self.number = number
        self.settings = settings
        self.opened: dict[Place, Listener] = {}
        self._bind = bind
        self._explained = explained
        self.deadline = now + PATIENCE
        self.over = False
        self.failure = ""
        self._workers = set(workers)
        self._awaited = set(workers)
        self._taking_over = False

    def begin(self) -> None:
        """Have all of them stage it."""
        try:
            for worker in self._workers:
                worker.say(Stage(self.number, self.settings))
        except Exception as failure:  # noqa: BLE001  # what can't be pickled, for one
            self._fail(failure)
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
        if not self.failure and not self._taking_over:
            self._hand_out()
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

    def _hand_out(self) -> None:
        """Bind what is new, and send it to all workers: the last step that can fail."""
        try:
            self.opened = self._bind()
            for worker in self._workers:
                for place, listener in self.opened.items():
                    worker.say(Open(place), listener.sockets)
        except Exception as failure:  # noqa: BLE001  # an address that is in use, or no descriptors
            self._fail(failure)

    def _fail(self, failure: Exception) -> None:
        self.failure = self.failure or self._explained(failure)
        self._awaited.clear()

    def give_up(self) -> None:
        """Leave everything as it was."""
        self.over = True
        for worker in self._workers:
            worker.say(GiveUp())
        places.close(self.opened, self._explained)
