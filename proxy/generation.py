"""One configuration at work: settings -> credentials -> routes -> gateway.

A reload makes another generation; the old one ends with its last request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import httpx

from proxy.admin import credential_name
from proxy.clock import Clock
from proxy.config import Settings
from proxy.credentials import Context, Credential, Scheme
from proxy.gateway.exchange import Exchange
from proxy.gateway.forward import Gateway
from proxy.gateway.gates import Gates
from proxy.gateway.guard import Guard
from proxy.gateway.route import Route
from proxy.gateway.settings import RouteSettings, TimeoutSettings
from proxy.gateway.table import RouteTable
from proxy.gateway.upstream import Upstream
from proxy.metrics import Family
from proxy.proxy_choice import Outgoing
from proxy.report import Report
from proxy.stores import Store
from proxy.tokens import Standing, Tokens
from proxy.tokens.endpoint import CONNECT, TIMEOUT
from proxy.transport import HTTP11Transport
from proxy.transport.anywhere import AnywhereTransport
from proxy.transport.http2 import HTTP2Transport
from proxy.transport.origin import socket_of
from proxy.transport.outgoing import DIRECT, ProxyRules
from proxy.transport.own import OwnAddresses
from proxy.transport.stock import StockTransport
from proxy.transport.tls import TlsSettings, bound, context
from proxy.transport.upgrades import UpgradeTransport


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stays from one generation to the next.

    Attributes:
        renewed: told of each renewal: credential and outcome.
        warn: told of what users must know.
        defect: told of an exception that nobody expected.
        debug: called with what helps to find a fault.

    """

    clock: Clock
    random: Random
    renewed: Callable[[str, str], None]
    warn: Callable[[str], None]
    defect: Callable[[Exception], None]
    debug: Callable[[str], None] = lambda text: None  # noqa: ARG005


def prepare(settings: Settings) -> None:
    """Read the certificates and import the modules that a `Generation` of these settings needs; in any thread.

    Raises:
        ConfigError: a file is missing or no certificate.

    """
    with settings.environment.staged():
        for route in settings.routes.values():
            if route.upstream.scheme == "https":
                context(route.tls)
                if route.http2 and route.tls != TlsSettings():
                    context(route.tls, "h2")
            if isinstance(route.credential, Credential):
                route.credential.prepare()
        for credential in settings.credentials.values():
            credential.prepare()


class Generation:
    """What one configuration is made into. A reload makes another, and this one ends with its last request.

    Attributes:
        gateway: what answers requests.
        own: where the process listens, so that no upstream leads back to it.
        store: where its tokens are kept.

    """

    def __init__(self, settings: Settings, store: Store, surroundings: Surroundings, outgoing: Outgoing) -> None:
        self.settings = settings
        self.store = store
        self._outgoing = outgoing
        self._clock = surroundings.clock
        self._random = surroundings.random
        self._defect = surroundings.defect
        self._context = bound()
        self.own = OwnAddresses()
        self._foreign: dict[ProxyRules, AnywhereTransport] = {}  # for what is not a route's own upstream
        self._tokens = Tokens(
            store,
            surroundings.clock,
            self._anywhere(DIRECT),
            surroundings.renewed,
            surroundings.warn,
            surroundings.random,
            debug=surroundings.debug,
            own=self.own,
        )
        self._schemes: dict[str, Scheme] = {}  # those that routes name
        self._built: list[tuple[str, Scheme]] = []  # all of them, inline ones included
        self.gateway = Gateway(
            Guard(
                allowed_hosts=(
                    *settings.server.allowed_hosts,
                    *(route.host for route in settings.routes.values() if route.host),
                ),
                allowed_origins=settings.server.allowed_origins,
                client_token=settings.server.client_token,
            ),
            RouteTable([self._route(name, route) for name, route in settings.routes.items()]),
            surroundings.defect,
        )
        self._gates: dict[str, Gates] = {}
        for route in self.gateway.table.routes:
            name = _pause_name(route)
            gates = self._gates[name] = route.exchange.gates
            gates.share = partial(_share_pause, store, name)
        self._unwatch = store.watch_pauses(self._hold)

    def _hold(self, name: str, seconds: float) -> None:
        """Another process was told to wait by the API of one of our routes."""
        name, _, scope = name.partition(":")
        if name in self._gates:
            self._gates[name].hold(scope, seconds)

    def _route(self, name: str, settings: RouteSettings) -> Route:
        retry, timeout, limits = self.settings.effective(settings)
        if isinstance(settings.credential, Credential):
            scheme = self._build(f"routes.{name}", settings.credential)
        else:
            scheme = self._named(settings.credential)
        rules = self._outgoing.routes[name]
        proxy = None if socket_of(settings.upstream) else rules.proxy_for(settings.upstream)
        transport = self._transport(settings, timeout, proxy)
        upstream = Upstream(settings.upstream, transport, self._anywhere(rules), proxy)
        exchange = Exchange(upstream, scheme, retry, clock=self._clock, random=self._random)
        return Route(name, settings, exchange, scheme, limits, timeout)

    def _anywhere(self, rules: ProxyRules) -> AnywhereTransport:
        if rules not in self._foreign:
            self._foreign[rules] = AnywhereTransport(self._context, rules, connect=CONNECT, read=TIMEOUT, own=self.own)
        return self._foreign[rules]

    def _transport(
        self, settings: RouteSettings, timeout: TimeoutSettings, proxy: httpx.URL | None
    ) -> httpx.AsyncBaseTransport:
        connect, read = timeout.connect or None, timeout.read or None
        is_plain = settings.upstream.scheme == "http"
        http11 = partial(
            HTTP11Transport,
            settings.upstream,
            ssl_context=None if is_plain else self._context(settings.tls),
            uds=socket_of(settings.upstream),
            proxy=proxy,
            connect_timeout=connect,
            read_timeout=read,
            any_user=settings.insecure,
            own=self.own,
        )
        if is_plain and proxy is not None:
            return UpgradeTransport(http11(), http11(tunnel=True))
        if not settings.http2:
            return http11()
        tls = partial(self._context, settings.tls, "h2")
        if settings.tls != TlsSettings():
            tls()  # not when it is first needed: its files may be others by then

        def http2() -> StockTransport:
            return StockTransport(tls, connect=connect, read=read, proxy=proxy, http2=True, own=self.own)

        return HTTP2Transport(http2, http11())

    def _named(self, name: str) -> Scheme:
        if name not in self.settings.credentials:
            return Scheme()  # "none"; other names that don't exist have been refused
        if name not in self._schemes:
            self._schemes[name] = self._build(name, self.settings.credentials[name])
        return self._schemes[name]

    def _build(self, name: str, credential: Credential) -> Scheme:
        rules = self._outgoing.credentials[name]
        tokens = replace(self._tokens, client=self._anywhere(rules), outgoing=rules)
        scheme = credential.build(Context(name, self._named, tokens, self._clock))
        self._built.append((name, scheme))
        return scheme

    def scheme(self, name: str) -> Scheme | None:
        """Return the scheme of a credential, None if there is none of that name.

        Args:
            name: as in ``[credentials.NAME]``, or ``routes.NAME`` for what stands in a route.

        """
        if name in self.settings.credentials:
            return self._named(name)
        return next((scheme for built, scheme in self._built if built == name), None)

    def expiries(self) -> Iterator[tuple[str, float]]:
        """Credential and epoch seconds of the expiry of every token that has one."""
        for name, scheme in self._built:
            expiry = scheme.expires_at()
            if expiry is not None:
                yield name, expiry

    def standings(self) -> dict[str, Standing]:
        """How the token of each credential stands that has one."""
        return {source.name: source.standing() for source in self._tokens.sources}

    def report(self, families: tuple[Family, ...], connections: int, trouble: str) -> Report:
        """Return what is true of the process that it serves; the arguments are what is not its own to know."""
        routes = self.gateway.table.routes
        return Report(
            families,
            1,
            connections,
            {route.name: expiry for route in routes if (expiry := route.scheme.expires_at()) is not None},
            {route.name: route.exchange.gates.remaining() for route in routes},
            self.standings(),
            trouble,
        )

    async def settle(self) -> None:
        """Let renewals under way come to their end: their answers may hold rotated refresh tokens."""
        await asyncio.gather(*(source.settle() for source in self._tokens.sources))

    async def aclose(self) -> None:
        """Close what it holds; what can't be closed is logged, and keeps nothing else open."""
        self._unwatch()
        await self.gateway.aclose()
        await asyncio.gather(*(self._closed(source.aclose()) for source in self._tokens.sources))
        for _, scheme in self._built:
            await self._closed(scheme.aclose())
        for transport in self._foreign.values():
            await self._closed(transport.aclose())

    async def _closed(self, closing: Awaitable[None]) -> None:
        try:
            await closing
        except Exception as failure:  # noqa: BLE001  # of a store, or of third-party code
            self._defect(failure)


def _pause_name(route: Route) -> str:
    """Return a name that the same route of another process has, too; it shows none of what it is made of."""
    facts = f"{route.name}\n{credential_name(route)}\n{route.settings.upstream}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _share_pause(store: Store, name: str, scope: str, seconds: float) -> None:
    """Share that a scope of a route is to be left alone; the name of the whole route's is the route's."""
    store.share_pause(f"{name}:{scope}" if scope else name, seconds)
