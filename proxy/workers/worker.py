"""A worker: an `App` that does what its supervisor says."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import signal
import socket
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from proxy import places
from proxy.admin import Common, Problems, problems
from proxy.app import App
from proxy.config import Settings
from proxy.errors import ConfigError, CountersignError
from proxy.life import handled, warn_early
from proxy.listeners import Listener, kind
from proxy.log import Log
from proxy.places import ADMIN, PROXY, Place
from proxy.reload import Change, explained
from proxy.report import Report
from proxy.workers import (
    Accept,
    Answer,
    Ask,
    Drain,
    End,
    Failed,
    GiveUp,
    Leaving,
    Open,
    Outcome,
    Ready,
    Stage,
    Staged,
    TakenOver,
    TakeOver,
    Tell,
    Told,
    What,
)
from proxy.workers.channel import Channel


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker is born with.

    Attributes:
        share: which of the workers it is, from 0 on.
        listeners: as the supervisor has bound them.
        first: whether it is the very first one, which says what all of them would.

    """

    share: int
    settings: Settings
    listeners: Mapping[Place, Listener]
    common: Common
    channel: Channel
    first: bool


class Worker:
    """The process; for the admin listener's pages, all of them."""

    def __init__(self, assignment: Assignment, log: Log) -> None:
        self._assignment = assignment
        self._channel = assignment.channel
        self._log = log
        self._orders: asyncio.Queue[tuple[object, list[socket.socket]]] = asyncio.Queue()
        self._opened: dict[Place, Listener] = {}
        self._change: Change | None = None
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[tuple[Any, ...]]] = {}  # Any: as `Told`
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending, self._at_once = asyncio.Event(), asyncio.Event()
        self._app = App(assignment.settings, log, common=assignment.common, workers=self)

    # -- life ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until it is told to end, or until nobody is there any more who could tell it."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._channel.socket, self._hear)
        # A terminal sends SIGINT and SIGHUP to all of its processes; what they mean is for the supervisor to say.
        with handled({signal.SIGTERM: self._leave, signal.SIGINT: _ignore, signal.SIGHUP: _ignore}):
            await self._serve()
        loop.remove_reader(self._channel.socket)

    async def _serve(self) -> None:
        self._log.take_over_stdlib()
        try:
            await self._app.start(_own(self._assignment.listeners), shares=())
        except CountersignError as failure:
            self._say(Failed(str(failure), isinstance(failure, ConfigError)))
            return
        self._say(Ready())
        if self._assignment.first:
            self._do(warn_early(self._assignment.settings, self._log))
        self._do(self._obey())
        await self._ending.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._app.end(self._at_once)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:  # Any: what it yields and is sent
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave(self) -> None:
        self._say(Leaving())
        self._ending.set()

    def _orphaned(self) -> None:
        """End without a supervisor: the addresses are free at once."""
        asyncio.get_running_loop().remove_reader(self._channel.socket)
        if not self._ending.is_set():
            self._log.error("the supervisor has gone; stopping")
        self._app.shut(PROXY, ADMIN)
        self._ending.set()

    # -- what it hears -------------------------------------------------------------------------------

    def _hear(self) -> None:
        for message, sockets in self._channel.receive():
            match message:
                case Tell(what, number):
                    self._do(self._tell(what, number))
                case Told(number, answers):
                    asked = self._asked.get(number)
                    if asked is not None and not asked.done():
                        asked.set_result(answers)
                case Outcome(text):
                    self._app.tell_of_reload(text)
                case Drain():
                    self._ending.set()
                case End():
                    self._at_once.set()
                    self._ending.set()
                case _:
                    self._orders.put_nowait((message, sockets))
        if self._channel.ended:
            self._orphaned()

    async def _obey(self) -> None:
        """Do, one after the other, what takes its time."""
        try:
            while True:
                await self._do_as_told(*await self._orders.get())
        except Exception as failure:  # noqa: BLE001  # who has not done as told is no good any more
            self._log.error(f"a worker leaves: {explained(failure, self._log)}")
            self._leave()

    async def _do_as_told(self, message: object, sockets: list[socket.socket]) -> None:
        match message:
            case Accept(shares):
                await self._app.accept(shares)
            case Open(place):
                if not sockets:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
                self._opened[place] = kind(place[1])(place[1], sockets)
            case Stage():
                self._say(Staged(message.number, await self._stage(message)))
            case TakeOver(number):
                await self._take_over()
                self._say(TakenOver(number))
            case GiveUp():
                await self._give_up()

    async def _stage(self, order: Stage) -> str:
        try:
            self._change = await self._app.stage(order.settings)
        except Exception as failure:  # noqa: BLE001  # the other workers wait for an answer
            return explained(failure, self._log)
        return ""

    async def _take_over(self) -> None:
        assert self._change is not None
        opened, self._opened = self._opened, {}
        change, self._change = self._change, None
        await self._app.take_over(change, opened)
        if self._assignment.share == 0:  # once for all of them
            self._do(warn_early(change.generation.settings, self._log))

    async def _give_up(self) -> None:
        places.close(self._opened, self._log.defect)
        self._opened.clear()
        if self._change is not None:
            change, self._change = self._change, None
            await self._app.give_up(change)

    # -- what it says --------------------------------------------------------------------------------

    def _say(self, message: object) -> None:
        self._channel.send(message)
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        self._channel.flush()
        if self._channel.has_backlog:
            loop.add_writer(self._channel.socket, self._flush)
        else:
            loop.remove_writer(self._channel.socket)

    async def _tell(self, what: What, number: int) -> None:
        value = self._app.report() if what == "reports" else await problems(self._app.routes)
        self._say(Answer(number, value))

    async def _ask(self, what: What) -> tuple[Any, ...]:  # Any: as `Told`
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        self._say(Ask(what, number))
        try:
            return await self._asked[number]
        finally:
            del self._asked[number]

    async def reports(self) -> tuple[Report, ...]:
        """As `proxy.admin.Workers.reports`."""
        return await self._ask("reports")

    async def problems(self) -> tuple[Problems | None, ...]:
        """As `proxy.admin.Workers.problems`."""
        return await self._ask("problems")


def _ignore() -> None:
    pass


def _own(listeners: Mapping[Place, Listener]) -> dict[Place, Listener]:
    """Return listeners on the same sockets; what becomes of a socket's name is not for a worker to say."""
    return {place: type(listener)(listener.address, listener.sockets) for place, listener in listeners.items()}
