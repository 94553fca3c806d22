"""The composition root: settings -> routes -> server -> listeners; what begins, changes and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from random import Random

import httpx

from proxy import places
from proxy.admin import Admin, Common, Facts, Problems, Workers, problems
from proxy.clock import Clock
from proxy.config import Settings
from proxy.credentials import Scheme
from proxy.errors import ConfigError, CountersignError, SecretError
from proxy.gateway import Answer, Inbound, Story
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.guard import Guard
from proxy.gateway.route import Route
from proxy.gateway.server import Server
from proxy.generation import Generation, Surroundings
from proxy.listeners import Listener
from proxy.log import Log
from proxy.metrics import Metrics
from proxy.places import ADMIN, PROXY, Place
from proxy.report import Report
from proxy.stores import Setup, Store, open_store
from proxy.transport.tls import forget as forget_contexts

_CLOSING = 3.5  # seconds for closing what has been drained: a renewal has two of them


@dataclass(frozen=True, slots=True)
class Change:
    """A configuration that can be taken over; until then nothing shows of it.

    Attributes:
        store: a new one, or that which is in use.
        setup: what that is made with.

    """

    generation: Generation
    store: Store
    setup: Setup
    admin_token: str = field(repr=False)


class App:
    """The process.

    Args:
        settings: the first configuration.
        log: what it says.
        reread: reads the configuration again, for a reload.
        common: what it has in common with others that serve together with it.
        workers: they and this one; None if there are no others.

    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        reread: Callable[[], Settings] | None = None,
        common: Common | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.log = log
        self.clock = clock or Clock()
        self._reread = reread
        self._settings = settings
        self.metrics = Metrics(lambda: self.busy, lambda: self._now.expiries(), self._rests, self.clock.time)
        self._surroundings = Surroundings(
            self.clock,
            random or Random(),  # noqa: S311  # jitter
            self.metrics.renewal,
            log.warning,
            log.defect,
            log.debug,
        )
        self._listeners: dict[Place, Listener] = {}
        self._shares: frozenset[int] = frozenset()
        self._ending: set[asyncio.Task[None]] = set()
        self._common = common or Common(self.clock.time())
        self._workers = workers
        self._admin_token = self._common.admin_token

    # -- life ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make everything that serves, but do not listen.

        Raises:
            CountersignError: the store or a certificate can't be had.

        """
        settings = self._settings
        self._setup = await settings.tokens.setup(self.log.warning)
        self._store = open_store(self._setup)
        self._now = Generation(settings, self._store, self._surroundings, await settings.outgoing())
        self._server = Server(self._now.gateway, settings.server, self.clock, self._observe, self.log.warning)
        self._facts = Facts(
            lambda: self._now.gateway.table.routes,
            self if self._workers is None else self._workers,
            self.clock,
            self._common.started,
        )
        quiet = ConnectionSettings(connections=64)
        self._admin_server = Server(self._admin(settings), quiet, self.clock, lambda _story: None, self.log.warning)

    async def start(self, listeners: dict[Place, Listener] | None = None, shares: Iterable[int] = (0,)) -> None:
        """Listen and serve.

        Args:
            listeners: those that have been bound for it, or None if it shall do so itself.
            shares: of them, as `accept` wants them.

        Raises:
            CountersignError: an address or the store can't be had.

        """
        await self.open()
        self._shares = frozenset(shares)
        try:
            self._admin_token = await self._admin_token_of(self._settings)
            await self._listen(places.bind(self._settings, self.log.warning) if listeners is None else listeners)
        except BaseException:
            await self.aclose()
            raise

    async def _admin_token_of(self, settings: Settings) -> str:
        configured = settings.server.admin_token
        try:
            return self._common.admin_token if configured is None else await configured.get()
        except SecretError as failure:
            raise ConfigError(f"server.admin_token: {failure}") from None

    async def _listen(self, opened: dict[Place, Listener]) -> None:
        self._listeners |= opened
        self._now.own.are(sock for listener in self._listeners.values() for sock in listener.sockets)
        self._facts.listens = tuple(self.addresses)
        await self.accept(self._shares)

    async def accept(self, shares: Iterable[int]) -> None:
        """Accept the clients of these shares of the addresses, and of no others."""
        self._shares = frozenset(shares)
        for (role, _), listener in self._listeners.items():
            await listener.accept((self._server if role == PROXY else self._admin_server).protocol, self._shares)

    @property
    def addresses(self) -> list[str]:
        """Where clients can come in, as users can use it."""
        return places.shown(self._listeners)

    @property
    def busy(self) -> int:
        """How many requests are under way."""
        return self._server.connections.busy

    @property
    def settings(self) -> Settings:
        """The configuration that holds now."""
        return self._settings

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that are served."""
        return self._now.gateway.table.routes

    @property
    def store(self) -> Store:
        """Where tokens are kept now."""
        return self._store

    def scheme(self, name: str) -> Scheme | None:
        """As `Generation.scheme`."""
        return self._now.scheme(name)

    @property
    def status_url(self) -> str | None:
        """The status page's address; with a token only if that was made here."""
        return places.status_url(self._listeners, self._settings, self._common.admin_token)

    # -- requests ------------------------------------------------------------------------------------

    async def answer(self, inbound: Inbound) -> Answer:
        """Answer a request that did not come in by a listener, past the guard: for ``check --live``."""
        return await self._now.gateway.call(inbound)

    def prepare(self, inbound: Inbound) -> tuple[Route, httpx.Request]:
        """Return the route that a request takes, and what it would send but for the credential."""
        return self._now.gateway.prepare(inbound)

    def _observe(self, story: Story) -> None:
        duration = self.clock.monotonic() - story.started
        self.metrics.request(story, duration)
        self.log.request(story, duration)

    def _admin(self, settings: Settings) -> Admin:
        guard = Guard(allowed_hosts=settings.server.allowed_hosts)
        return Admin(guard, lambda: self._admin_token, self._facts)

    # -- what it tells of itself ---------------------------------------------------------------------

    def report(self) -> Report:
        """Return what is true of it now."""
        return self._now.report(self.metrics.families(), len(self._server.connections), self._store.trouble() or "")

    def _rests(self) -> list[tuple[str, float]]:
        return [(name, standing.resting_until or 0.0) for name, standing in self._now.standings().items()]

    async def reports(self) -> list[Report]:
        """As `Workers.reports`, of one that has no others."""
        return [self.report()]

    async def problems(self) -> list[Problems]:
        """As `Workers.problems`, of one that has no others."""
        return [await problems(self.routes)]

    # -- reload --------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Take over the configuration as it is now; a broken one leaves the old one serving."""
        if self._reread is None:
            return
        opened: dict[Place, Listener] = {}
        try:
            settings = self._reread()
            opened = places.bind(settings, self.log.warning, self._listeners)
            change = await self.stage(settings)
        except Exception as failure:  # noqa: BLE001  # whatever it was: who serves goes on, and heeds the next signal
            for listener in opened.values():
                listener.close()
            told = str(failure) if isinstance(failure, CountersignError) else f"failed with {type(failure).__name__}"
            if not isinstance(failure, CountersignError):
                self.log.defect(failure)
            self.tell_of_reload(f"failed: {told}")
            self.log.error(f"reload failed, the old configuration goes on: {told}")  # noqa: G004  # takes texts
        else:
            await self.take_over(change, opened)
            self.tell_of_reload("done")
            self.log.info("reloaded", routes=len(self.routes))

    async def stage(self, settings: Settings) -> Change:
        """Make ready what `take_over` takes.

        Raises:
            CountersignError: the store, a certificate or the admin listener's token can't be had.

        """
        async with AsyncExitStack() as undo:
            settings.withhold()  # a worker's settings were read by another process
            store, setup = self._store, await settings.tokens.setup(self.log.warning)
            if setup != self._setup:
                store = open_store(setup)
                undo.push_async_callback(store.aclose)
            forget_contexts()  # a certificate may have been renewed under the same name
            generation = Generation(settings, store, self._surroundings, await settings.outgoing())
            undo.push_async_callback(generation.aclose)
            admin_token = await self._admin_token_of(settings)
            undo.pop_all()
        return Change(generation, store, setup, admin_token)

    async def take_over(self, change: Change, opened: dict[Place, Listener]) -> None:
        """Go on with another configuration, and with the addresses that it has `opened`; the old one ends later."""
        old, old_store = self._now, self._store
        settings = change.generation.settings
        self._now, self._settings = change.generation, settings
        self._store, self._setup = change.store, change.setup
        self._admin_token = change.admin_token
        for place in self._listeners.keys() - set(places.wanted(settings, self._listeners | opened)):
            self._listeners.pop(place).close()
        self._server.forward = change.generation.gateway
        await self._listen(opened)
        self._server.connections.settings = settings.server
        self._admin_server.forward = self._admin(settings)
        self._end_later(old, old_store if old_store is not change.store else None)

    async def give_up(self, change: Change) -> None:
        """Forget what will not be taken over."""
        await change.generation.aclose()
        if change.store is not self._store:
            await change.store.aclose()

    def tell_of_reload(self, outcome: str) -> None:
        """Show on the status page what came of a reload."""
        self._facts.reloaded = outcome

    def _end_later(self, old: Generation, store: Store | None) -> None:
        async def end() -> None:
            await self._server.connections.settled()
            await old.settle()
            await old.aclose()
            if store is not None:
                await store.aclose()

        task = asyncio.create_task(end(), name="end of an old configuration")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    # -- death ---------------------------------------------------------------------------------------

    async def end(self, at_once: asyncio.Event) -> None:
        """Drain, for no longer than until `at_once` is set, and end; what can't be closed is left as it is."""
        draining = asyncio.create_task(self.drain(), name="drain")
        waiting = asyncio.create_task(at_once.wait(), name="end at once")
        await asyncio.wait((draining, waiting), return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await draining
        with suppress(TimeoutError):
            # A store may hang, and so may what a stranger's credential does.
            async with asyncio.timeout(_CLOSING):
                await self.aclose()

    async def drain(self) -> None:
        """Accept nobody any more, and let what is in flight come to its end."""
        self._facts.stopping = True
        self.shut(PROXY)
        grace = self._settings.server.shutdown_grace
        end = asyncio.get_running_loop().time() + grace
        await self._server.connections.drain(grace)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._now.settle()

    def shut(self, *roles: str) -> None:
        """Accept nobody any more who comes in these roles."""
        for (role, _), listener in self._listeners.items():
            if role in roles:
                listener.close()

    async def aclose(self) -> None:
        """End."""
        self.shut(PROXY, ADMIN)
        self._server.connections.close()
        self._admin_server.connections.close()
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._now.aclose()
        await self._store.aclose()
