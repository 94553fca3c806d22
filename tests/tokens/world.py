"""Several processes that share a store, an authorization server and an API, all within one event loop and a clock
that is told the time: the world of `test_model`.

A process can be stopped wherever it touches the store, and killed: then nothing of it happens any more, and its lock
is free. The server rotates refresh tokens and detects their reuse; one that was answered may be sent again only while
nobody has used what it gave.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import httpx

from proxy.clock import Clock
from proxy.errors import CountersignError, ProxyError, TokenEndpointDown
from proxy.stores import Setup, Store, Token
from proxy.tokens import Tokens
from proxy.tokens._life import PART
from proxy.tokens.endpoint import TIMEOUT, Refused
from proxy.tokens.source import TokenSource
from tests.doubles import START, settle

KEY = "key"
EARLY = 60.0
POINTS = ("lock", "locked", "load", "save", "saved")  # where a process can be stopped
PROMPT, HELD = "prompt", "held"
OUTCOMES = ("token", "lost", "unsent", "500", "invalid_client", "invalid_grant")


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; each timer goes off at its own moment."""
        end = self.now + seconds
        self.run_until_complete(settle())
        while (timer := self._next()) is not None and timer.when() <= end:
            self.now = max(self.now, timer.when())
            self.run_until_complete(settle())
        self.now = end
        self.run_until_complete(settle())

    def _next(self) -> asyncio.TimerHandle | None:
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # there is no other way
        return min((timer for timer in timers if not timer.cancelled()), default=None, key=asyncio.TimerHandle.when)


class LoopClock(Clock):
    """The loop's time; the wall clock is that and `jumped`."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.jumped = 0.0

    def time(self) -> float:
        return START + self._loop.now + self.jumped

    def monotonic(self) -> float:
        return self._loop.now


@dataclass(eq=False)
class Issued:
    """What the server gave at once: an access and a refresh token."""

    access: str
    refresh: str
    family: set[str]  # of what revoked it
    ends: float
    jumped: float  # the wall clock, when it was issued
    ahead: float = 0.0  # how far that has been ahead since
    revoked: bool = False
    used: bool = False
    saved: bool = False
    successor: Issued | None = None


@dataclass(eq=False)
class Asked:
    """A token request that waits for what becomes of it."""

    process: Process
    refresh_token: str | None
    outcome: asyncio.Future[str]


class World:
    """Everything outside the processes, and what went wrong there."""

    def __init__(self, life: float) -> None:
        self.loop = Loop()
        self.clock = LoopClock(self.loop)
        self.life = life
        self.mood = PROMPT
        self.stored: Token | None = None
        self.holder: Process | None = None
        self.freed = asyncio.Event()
        self.pending: list[Asked] = []
        self.issued: list[Issued] = []
        self.processes = [Process(self, number) for number in range(3)]
        self.wrong: list[str] = []

    def check(self, holds: object, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    # -- the authorization server and the API --------------------------------------------------------

    def issue(self, family: set[str] | None = None) -> Issued:
        number = len(self.issued) + 1
        family = set() if family is None else family
        ends = self.loop.now + self.life
        self.issued.append(Issued(f"access-{number}", f"refresh-{number}", family, ends, self.clock.jumped))
        return self.issued[-1]

    def by_refresh(self, refresh_token: str) -> Issued:
        return next(each for each in self.issued if each.refresh == refresh_token)

    def by_access(self, token: Token) -> Issued:
        return next(each for each in self.issued if each.access == token.access_token)

    def grant(self, refresh_token: str | None) -> Issued:
        """Give what is asked for."""
        if refresh_token is None:
            return self.issue()
        old = self.by_refresh(refresh_token)
        old.used = True
        if old.family:
            raise Refused("invalid_grant")
        if old.successor is not None:
            self.check(not old.successor.used, f"{refresh_token} was used again, and so was what it gave")
            self.check(not old.successor.saved, f"{refresh_token} was sent again after what it gave had been saved")
            old.successor.revoked = True
        old.successor = self.issue(old.family)
        return old.successor

    def accepts(self, token: Token) -> bool:
        issued = self.by_access(token)
        issued.used = True
        return not issued.revoked and not issued.family and self.loop.now < issued.ends

    def revoke_all(self, *, families: bool) -> None:
        for issued in self.issued:
            issued.revoked = True
            if families:
                issued.family.add("revoked")

    def as_token(self, issued: Issued) -> Token:
        now = self.clock.time()
        return Token(issued.access, now + self.life, issued.refresh, obtained_at=now)

    # -- the store -----------------------------------------------------------------------------------

    def write(self, token: Token) -> None:
        self.stored = token
        self.by_access(token).saved = True
        for process in self.processes:
            for changed in process.watching:
                changed(KEY)

    def free(self, process: Process) -> None:
        if self.holder is process:
            self.holder = None
            freed, self.freed = self.freed, asyncio.Event()
            freed.set()

    def is_late(self, token: Token) -> bool:
        """Whether an early renewal is in order, by a clock that a process may have looked at."""
        issued = self.by_access(token)
        return issued.ends - issued.ahead - self.loop.now <= min(EARLY, self.life * PART) + 1e-6

    def jump(self, seconds: float) -> None:
        self.clock.jumped += seconds
        for issued in self.issued:
            issued.ahead = max(issued.ahead, self.clock.jumped - issued.jumped)

    def kill(self, process: Process) -> None:
        self.processes[self.processes.index(process)] = Process(self, process.number)
        process.end()


class Process(Store):
    """A source of tokens, its view of the store, and its clients."""

    schemes = ("world",)

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.dead = False
        self.stops_at = ""
        self.is_stopped = False
        self.thawed = asyncio.Event()
        self.refused: set[str] = set()
        self.known_dead: set[str] = set()
        self.watching: list[Callable[[str], None]] = []
        self.clients: list[Client] = []
        tokens = Tokens(self, world.clock, httpx.AsyncBaseTransport(), random=Random(number))
        self.source = TokenSource("api", self._key, self._fetch, tokens, EARLY)

    async def _key(self) -> str:
        return KEY

    def end(self) -> None:
        """Kill it: what it still does has no effect."""
        self.dead = True
        self.thaw()
        self.watching.clear()
        self.world.free(self)
        self.world.pending = [asked for asked in self.world.pending if asked.process is not self]
        self.source._is_closed = True
        self.source._stop_timer()
        for task in [self.source._renewal, *self.source._looks, *(client.task for client in self.clients)]:
            if task is not None:
                task.cancel()

    def thaw(self) -> None:
        self.stops_at, self.is_stopped = "", False
        thawed, self.thawed = self.thawed, asyncio.Event()
        thawed.set()

    async def _point(self, name: str) -> None:
        await asyncio.sleep(0)
        while self.stops_at == name and not self.dead:
            self.is_stopped = True
            await self.thawed.wait()
        if self.dead:
            raise asyncio.CancelledError

    # -- its token requests --------------------------------------------------------------------------

    async def _fetch(self, known: Token | None) -> Token:
        world, stored = self.world, self.world.stored
        refresh_token = known.refresh_token if known else None
        world.check(
            stored is None or stored.access_token in self.refused or world.is_late(stored),
            "a token was asked for that nobody needs",
        )
        asked = Asked(self, refresh_token, asyncio.get_running_loop().create_future())
        world.pending.append(asked)
        if world.mood != HELD:
            asked.outcome.set_result("token" if world.mood == PROMPT else world.mood)
        try:
            async with asyncio.timeout(TIMEOUT):
                outcome = await asked.outcome
        except TimeoutError:
            outcome = "lost"
        finally:
            if asked in world.pending:
                world.pending.remove(asked)
        return self.told(outcome, refresh_token)

    def told(self, outcome: str, refresh_token: str | None) -> Token:
        if outcome in ("token", "lost"):
            issued = self.world.grant(refresh_token)
            if outcome == "token":
                return self.world.as_token(issued)
        if outcome in ("lost", "500", "unsent"):
            raise TokenEndpointDown(outcome, sent=outcome != "unsent")
        raise Refused(outcome)

    # -- its store -----------------------------------------------------------------------------------

    @classmethod
    def create(cls, setup: Setup) -> Process:
        raise NotImplementedError

    async def load(self, name: str) -> Token | None:
        await self._point("load")
        return self.world.stored

    async def save(self, name: str, token: Token) -> None:
        await self._point("save")
        self.world.write(token)
        await self._point("saved")

    async def forget(self, name: str) -> None:
        raise NotImplementedError

    async def names(self) -> list[str]:
        raise NotImplementedError

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._locked()

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        await self._point("lock")
        while self.world.holder is not None:
            await self.world.freed.wait()
        self.world.holder = self
        try:
            await self._point("locked")
            yield
        finally:
            self.world.free(self)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        self.watching.append(changed)
        return lambda: self.watching.remove(changed) if changed in self.watching else None

    async def aclose(self) -> None:
        raise NotImplementedError


@dataclass(eq=False)
class Client:
    """A request of a client, as the flow of a credential serves it."""

    process: Process
    late: bool  # whether the API takes its time to answer
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None

    def begin(self) -> None:
        self.process.clients.append(self)
        self.task = self.process.world.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            self.status = await self._flow()
        except ProxyError as failure:
            self.status = failure.status

    async def _flow(self) -> int:
        source, world = self.process.source, self.process.world
        token = self._sent(source.valid() or await source.token())
        if self.late:
            await self.answered.wait()
        if world.accepts(token):
            return 200
        self.process.refused.add(token.access_token)
        self.process.known_dead.add(token.access_token)
        try:
            new = await source.renew(token)
        except CountersignError as failure:
            if "a moment ago" in str(failure):  # the token may be good, since no other one would do
                self.process.known_dead.discard(token.access_token)
            return 401
        is_good = world.accepts(self._sent(new))
        source.hear(new, refused=not is_good)
        return 200 if is_good else 401

    def _sent(self, token: Token) -> Token:
        world = self.process.world
        world.check(token.access_token not in self.process.known_dead, "a dead token was sent")
        world.check((token.expires_at or 0) > world.clock.time(), "a token was sent that was over by its date")
        return token
