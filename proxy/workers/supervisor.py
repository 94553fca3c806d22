"""The supervisor: binds the addresses, starts the workers, starts those anew that die, and passes signals on."""

from __future__ import annotations

import gc
import itertools
import selectors
import signal
import socket
from collections.abc import Callable
from functools import partial

from proxy import places
from proxy import reload as reloading
from proxy.admin import Common
from proxy.clock import Clock
from proxy.config import Settings
from proxy.errors import ConfigError, CountersignError
from proxy.listeners import Listener
from proxy.log import Log
from proxy.places import Place
from proxy.workers import (
    Accept,
    Answer,
    Ask,
    Drain,
    End,
    Failed,
    Leaving,
    Outcome,
    Ready,
    Staged,
    TakenOver,
)
from proxy.workers.channel import pair
from proxy.workers.child import Child, Closeable, fork
from proxy.workers.inquiry import Inquiries
from proxy.workers.reload import Reading, Reload
from proxy.workers.restarts import Restarts
from proxy.workers.signals import heard
from proxy.workers.worker import Assignment

END_PATIENCE = 5.0  # seconds for what should end by itself, over its grace


class StartError(CountersignError):
    """The workers can't be started."""


class Supervisor:
    """The process.

    Args:
        settings: the first configuration.
        log: what it says.
        reread: reads the configuration again, for a reload.
        work: the life of a worker.
        announce: told settings, addresses and the status page's URL once all workers serve.

    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        reread: Callable[[], Settings],
        work: Callable[[Assignment], None],
        announce: Callable[[Settings, list[str], str | None], None],
    ) -> None:
        self._first = self._settings = settings
        self._log = log
        self._reread = reread
        self._work = work
        self._announce = announce
        self._count = settings.server.workers
        self._clock = Clock()
        self._common = Common(self._clock.time())
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[Place, Listener] = {}
        self._children: list[Child] = []
        self._restarts = Restarts(self._count)
        self._inquiries = Inquiries(self._serving, self._clock.monotonic)
        self._numbers = itertools.count(1)
        self._reading: Reading | None = None
        self._reload: Reload | None = None
        self._reload_wanted = False
        self._outcome = ""  # of the last reload
        self._announced = False
        self._end_by: float | None = None  # monotonic seconds, once it is ending

    # -- life ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second one ends at once. SIGHUP reloads.

        Raises:
            CountersignError: an address can't be had, or a worker could not start.

        """
        self._listeners = places.bind(self._settings, self._log.warning, shares=self._count)
        # What is there now is there for good; the collector would only make the workers copy it.
        gc.collect()
        gc.freeze()
        with heard() as signals:
            self._selector.register(signals, selectors.EVENT_READ)
            try:
                while self._end_by is None or self._children:
                    self._turn(signals)
            finally:
                self._close()

    def _turn(self, signals: socket.socket) -> None:
        """Do what is due, and wait for the next signal, message or moment."""
        if self._end_by is None:
            self._start_those_due()
            if self._announced:
                self._read()
                self._begin_reload()
        for child in self._children:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.channel.has_backlog else 0)
            self._selector.modify(child.channel.socket, wanted, child)
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                self._heed(signals.recv(64))
            else:
                key.data.channel.flush()
                self._hear(key.data)
        self._expire()
        self._end_reload()

    def _patience(self) -> float | None:
        """Seconds until there is something to do without having been told; None if there is nothing."""
        moments = [self._inquiries.deadline, self._end_by]
        if self._reload is not None:
            moments.append(self._reload.deadline)
        elif self._reading is not None and self._end_by is None:
            moments.append(self._reading.next)
        elif self._end_by is None:
            moments.append(self._restarts.next)
        known = [moment for moment in moments if moment is not None]
        return max(0.0, min(known) - self._clock.monotonic()) if known else None

    def _expire(self) -> None:
        now = self._clock.monotonic()
        self._inquiries.expire()
        if self._reload is not None and now >= self._reload.deadline:
            self._reload.expire(now)
        if self._end_by is not None and now >= self._end_by:
            for child in self._children:
                child.kill()
            self._end_by = now + END_PATIENCE

    def _close(self) -> None:
        for child in self._children:
            child.kill()
            child.bury()
        if self._reload is not None:
            self._reload.give_up()
        for listener in self._listeners.values():
            listener.close()
        self._selector.close()

    # -- workers -------------------------------------------------------------------------------------

    def _serving(self) -> list[Child]:
        return [child for child in self._children if child.serves]

    def _start_those_due(self) -> None:
        """Start workers; during a reload none, since it is not known yet with which configuration.

        Nor while a configuration is read, unless none serves: a thread reads it, and a fork could inherit a lock that
        this thread holds.
        """
        if self._reload is not None or (self._reading is not None and self._serving()):
            return
        for share in self._restarts.take(now := self._clock.monotonic()):
            try:
                self._start(share)
            except OSError as failure:  # no descriptors or no processes left
                if not self._announced:
                    raise StartError(f"a worker can't be started: {failure.strerror}") from None
                pause = self._restarts.put(share, now, now)
                self._log.error(f"a worker can't be started: {failure.strerror}", worker=share + 1, pause=pause)

    def _start(self, share: int) -> None:
        ours, theirs = pair()
        assignment = Assignment(
            share, self._settings, self._listeners, self._common, theirs, first=share == 0 and not self._announced
        )
        strangers: list[Closeable] = [self._selector, ours, *(child.channel for child in self._children)]
        pid = fork(lambda: self._work(assignment), self._log, strangers)
        theirs.close()
        child = Child(share, pid, ours, self._clock.monotonic())
        self._children.append(child)
        self._selector.register(ours.socket, selectors.EVENT_READ, child)
        if self._announced:
            self._log.info("a worker is started again", worker=share + 1, pid=pid)

    def _share_out(self) -> None:
        """See that somebody accepts the clients of every share: its own worker, or else another one."""
        serving = self._serving()
        accepts = {child: {child.share} for child in serving}
        orphans = sorted(set(range(self._count)).difference(*accepts.values()))
        for orphan, child in zip(orphans, itertools.cycle(serving)):  # the second never ends
            accepts[child].add(orphan)
        for child, shares in accepts.items():
            if child.accepts != shares:
                child.accepts = frozenset(shares)
                child.say(Accept(child.accepts))

    def _bury(self, child: Child) -> None:
        how = child.bury()
        self._children.remove(child)
        self._inquiries.bury(child)
        if self._reload is not None:
            self._reload.bury(child)
        if self._end_by is not None or child.leaving:
            return
        if not self._announced:
            raise StartError(f"a worker {how or 'ended'} at its start")
        self._replace(child, child.failure or how or "ended")

    def _replace(self, child: Child, how: str) -> None:
        """Have another worker started in place of one that does not serve any more."""
        pause = self._restarts.put(child.share, child.born, self._clock.monotonic())
        self._log.error(f"a worker {how}", worker=child.share + 1, pid=child.pid, pause=pause)
        self._share_out()

    # -- what it hears -------------------------------------------------------------------------------

    def _hear(self, child: Child) -> None:
        for message, _ in child.channel.receive():
            self._take(child, message)
        if child.channel.ended:
            self._selector.unregister(child.channel.socket)
            self._bury(child)

    def _take(self, child: Child, message: object) -> None:
        match message:
            case Ready():
                self._welcome(child)
            case Failed(text, usage):
                if not self._announced and self._end_by is None:
                    raise ConfigError(text) if usage else StartError(text)
                child.failure = f"could not start: {text}"
            case Ask():
                self._inquiries.ask(child, message)
            case Answer():
                self._inquiries.answer(child, message)
            case Staged() | TakenOver():
                if self._reload is not None:
                    self._reload.answer(child, message)
            case Leaving():
                self._see_off(child)

    def _see_off(self, child: Child) -> None:
        child.leaving = True
        if self._reload is not None:
            self._reload.bury(child)
        if self._announced and self._end_by is None:
            self._replace(child, "leaves")

    def _welcome(self, child: Child) -> None:
        child.ready = True
        if self._outcome:
            child.say(Outcome(self._outcome))
        if self._announced:
            self._share_out()
        elif len(self._serving()) == self._count:
            self._announced = True
            self._share_out()
            token = self._common.admin_token
            url = places.status_url(self._listeners, self._settings, token)
            self._announce(self._settings, places.shown(self._listeners), url)

    def _heed(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGHUP:
                self._reload_wanted = True
            elif self._end_by is None:
                self._drain()
            else:
                self._tell_all(End())
                self._end_by = self._clock.monotonic() + END_PATIENCE

    def _tell_all(self, message: object) -> None:
        for child in self._children:
            child.say(message)

    def _drain(self) -> None:
        self._log.info("stopping", workers=len(self._children))
        self._end_by = self._clock.monotonic() + self._settings.server.shutdown_grace + END_PATIENCE
        self._tell_all(Drain() if self._announced else End())
        for listener in self._listeners.values():
            listener.close()

    # -- reload --------------------------------------------------------------------------------------

    def _staying(self) -> list[Child]:
        return [child for child in self._children if not child.leaving]

    def _read(self) -> None:
        """Begin to read the configuration if a reload is wanted and all workers that are there have started."""
        if not self._reload_wanted or self._reload is not None or self._reading is not None:
            return
        if all(child.ready for child in self._staying()):
            self._reload_wanted = False
            self._reading = Reading(self._reread, self._clock.monotonic)

    def _begin_reload(self) -> None:
        """Begin one when its configuration has been read."""
        reading = self._reading
        if reading is None or not reading.over:
            return
        self._reading = None
        try:
            settings = reading.settings()
        except Exception as failure:  # noqa: BLE001  # no reason for the workers to end
            self._tell_of_reload(reloading.failed(self._log, self._explained(failure)))
            return
        bind = partial(places.bind, settings, self._log.warning, tuple(self._listeners), self._count)
        now = self._clock.monotonic()
        self._reload = Reload(next(self._numbers), settings, bind, self._staying(), now, self._explained)
        self._reload.begin()

    def _explained(self, failure: Exception) -> str:
        return reloading.explained(failure, self._log)

    def _end_reload(self) -> None:
        reload = self._reload
        if reload is None or not reload.over:
            return
        self._reload = None
        if reload.failure:
            self._tell_of_reload(reloading.failed(self._log, reload.failure))
            return
        old, self._settings = self._settings, reload.settings
        self._settings.environment.adopt()
        gone = self._listeners.keys() - set(places.wanted(self._settings, self._listeners | reload.opened))
        places.close({place: self._listeners.pop(place) for place in gone}, self._log.defect)
        self._listeners |= reload.opened
        self._tell_of_reload(reloading.done(self._log, self._first, old, self._settings))

    def _tell_of_reload(self, outcome: str) -> None:
        self._outcome = outcome
        self._tell_all(Outcome(outcome))
