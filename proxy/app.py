"""The composition root: settings -> routes -> server -> listeners; what begins, changes and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random

import httpx

from proxy import places
from proxy import reload as reloading
from proxy.admin import Admin, Common, Facts, Problems, Workers, problems
from proxy.clock import Clock
from proxy.config import Settings
from proxy.credentials import Scheme
from proxy.errors import ConfigError, SecretError
from proxy.gateway import Answer, Inbound, Story
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.guard import Guard
from proxy.gateway.route import Route
from proxy.gateway.server import Server
from proxy.generation import Generation, Surroundings, prepare
from proxy.listeners import Factory, Listener
from proxy.log import Log
from proxy.metrics import Metrics
from proxy.places import ADMIN, PROXY, Place
from proxy.reload import Change
from proxy.report import Report
from proxy.stores import Store, open_store

_CLOSING = 3.5  # seconds for closing what has been drained: a renewal has two of them


class App:
    """The process.

    Args:
        settings: the first configuration.
        log: what it says.
        reread: reads the configuration again, for a reload, in another thread.
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
        self._first = self._settings = settings
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

    # -- life ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make everything that serves, but do not listen.

        Raises:
            CountersignError: the store or a certificate can't be had.

        """
        settings = self._settings
        setup = await settings.tokens.setup(self.log.warning)
        generation = Generation(settings, open_store(setup), self._surroundings, await settings.outgoing())
        self._server = Server(generation.gateway, settings.server, self.clock, self._observe, self.log.warning)
        self._facts = Facts(
            lambda: self._now.gateway.table.routes,
            self if self._workers is None else self._workers,
            self.clock,
            self._common.started,
        )
        quiet = ConnectionSettings(connections=64)
        admin = self._admin(settings)
        self._admin_server = Server(admin, quiet, self.clock, lambda _story: None, self.log.warning)
        self._state = Change(generation, generation.store, setup, admin, self._common.admin_token)

    async def start(self, listeners: dict[Place, Listener] | None = None, shares: Iterable[int] = (0,)) -> None:
        """Listen and serve.

        Args:
            listeners: those that have been bound for it, or None if it shall do so itself.
            shares: of them, as `accept` wants them.

        Raises:
            CountersignError: an address or the store can't be had.

        """
        await self.open()
        try:
            self._state = replace(self._state, admin_token=await self._admin_token_of(self._settings))
            self._listeners = places.bind(self._settings, self.log.warning) if listeners is None else listeners
            self._now.own.are(sock for listener in self._listeners.values() for sock in listener.sockets)
            self._facts.listens = tuple(self.addresses)
            await self.accept(shares)
        except BaseException:
            await self.aclose()
            raise

    async def _admin_token_of(self, settings: Settings) -> str:
        configured = settings.server.admin_token
        try:
            return self._common.admin_token if configured is None else await configured.get()
        except SecretError as failure:
            raise ConfigError(f"server.admin_token: {failure}") from None

    async def accept(self, shares: Iterable[int]) -> None:
        """Accept the clients of these shares, and of no others."""
        self._shares = frozenset(shares)
        for (role, _), listener in self._listeners.items():
            await listener.accept(self._protocol(role), self._shares)

    @property
    def _now(self) -> Generation:
        return self._state.generation

    def _protocol(self, role: str) -> Factory:
        return (self._server if role == PROXY else self._admin_server).protocol

    @property
    def addresses(self) -> list[str]:
        """Where clients can come in, as users can use it."""
        return places.shown(self._listeners)

    @property
    def busy(self) -> int:
        """The number of requests under way."""
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
        return self._state.store

    def scheme(self, name: str) -> Scheme | None:
        """As `Generation.scheme`."""
        return self._now.scheme(name)

    @property
    def status_url(self) -> str | None:
        """The status page's address; with a token only if that was made here."""
        return places.status_url(self._listeners, self._settings, self._common.admin_token)

    # -- requests ------------------------------------------------------------------------------------

    async def answer(self, inbound: Inbound) -> Answer:
        """Answer a request of ``check --live``, past the guard."""
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
        return Admin(guard, lambda: self._state.admin_token, self._facts)

    # -- what it tells of itself ---------------------------------------------------------------------

    def report(self) -> Report:
        """Return what is true of it now."""
        trouble = self._state.store.trouble() or ""
        return self._now.report(self.metrics.families(), len(self._server.connections), trouble)

    def _rests(self) -> list[tuple[str, float]]:
        return [(name, standing.resting_until or 0.0) for name, standing in self._now.standings().items()]

    async def reports(self) -> list[Report]:
        """As `Workers.reports`."""
        return [self.report()]

    async def problems(self) -> list[Problems]:
        """As `Workers.problems`."""
        return [await problems(self.routes)]

    # -- reload --------------------------------------------------------------------------------------

    async def reload(self) -> None:
        """Take over the configuration as it is now; if that fails, the old one goes on."""
        if self._reread is None:
            return
        old = self._settings
        try:
            async with asyncio.timeout(reloading.PATIENCE):
                settings = await reloading.beside(self._reread)
                await self.take_over(await self.stage(settings))
        except Exception as failure:  # noqa: BLE001  # whatever it is: the process serves on, and can reload again
            self.tell_of_reload(reloading.failed(self.log, reloading.explained(failure, self.log)))
        else:
            self.tell_of_reload(reloading.done(self.log, self._first, old, settings))

    async def stage(self, settings: Settings) -> Change:
        """Make ready what `take_over` takes.

        Raises:
            CountersignError: the store, a certificate or the admin listener's token can't be had.

        """
        with settings.environment.staged():
            await reloading.beside(partial(prepare, settings))
            setup, token = await settings.tokens.setup(self.log.warning), await self._admin_token_of(settings)
            store = self._state.store if setup == self._state.setup else open_store(setup)
            try:
                generation = Generation(settings, store, self._surroundings, await settings.outgoing())
            except BaseException:
                if store is not self._state.store:
                    await store.aclose()
                raise
        return Change(generation, store, setup, self._admin(settings), token)

    async def take_over(self, change: Change, bound: dict[Place, Listener] | None = None) -> None:
        """Go on with another configuration; the old one ends later. If that fails, everything is as it was.

        Args:
            change: closed if it can't be taken over.
            bound: its new addresses if they have been bound already; likewise.

        """
        before, opened = self._state, bound or {}
        try:
            settings = change.generation.settings
            if bound is None:
                bind = partial(places.bind, settings, self.log.warning, tuple(self._listeners))
                opened = await reloading.beside(bind, late=partial(places.close, defect=self.log.defect))
            known = self._listeners | opened
            # The admin listener may be missing: a default address that is taken is no reason to fail.
            listeners = {place: known[place] for place in places.wanted(settings, known) if place in known}
            change.generation.own.are(sock for listener in listeners.values() for sock in listener.sockets)
            for (role, _), listener in opened.items():
                await listener.prepare(self._protocol(role), self._shares)
            self._swap(change)
            for listener in opened.values():
                await listener.serve()
        except BaseException:
            self._swap(before)
            places.close(opened, self.log.defect)
            await self.give_up(change)
            raise
        gone = {place: self._listeners[place] for place in self._listeners.keys() - listeners.keys()}
        self._listeners = listeners
        self._facts.listens = tuple(self.addresses)
        self._end_later(before, kept=change.store)
        places.close(gone, self.log.defect)

    def _swap(self, change: Change) -> None:
        """Let a configuration take effect: all of it at once, by assignments that can't fail."""
        self._state, self._settings = change, change.generation.settings
        self._server.forward = change.generation.gateway
        self._server.connections.settings = self._settings.server
        self._admin_server.forward = change.admin
        self._settings.environment.adopt()

    async def give_up(self, change: Change) -> None:
        """Close what will not be taken over."""
        await change.close(self.log.defect, kept=self._state.store)

    def tell_of_reload(self, outcome: str) -> None:
        """Show on the status page what came of a reload."""
        self._facts.reloaded = outcome

    def _end_later(self, old: Change, kept: Store) -> None:
        ending = old.end(self._server.connections.settled, self.log.defect, kept=kept)
        self._ending.add(task := asyncio.create_task(ending, name="end of an old configuration"))
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
        shut = {place: listener for place, listener in self._listeners.items() if place[0] in roles}
        places.close(shut, self.log.defect)

    async def aclose(self) -> None:
        """End."""
        self.shut(PROXY, ADMIN)
        self._server.connections.close()
        self._admin_server.connections.close()
        await asyncio.sleep(0)  # a task that has not begun would not close what it has to
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._state.close(self.log.defect)
