"""Which ``proxy`` and ``no_proxy`` hold for a route, and for what a credential requests.

A route goes by its own keys, else by those at the top level of the configuration. A credential goes by its own, else
by those of the routes that use it, else by those at the top level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from proxy.credentials import Credential
from proxy.errors import ConfigError, SecretError
from proxy.gateway.settings import RouteSettings
from proxy.mistakes import Mistake, dotted
from proxy.transport.outgoing import DIRECT, NONE, Exemption, ProxyRules, rules
from proxy.transport.proxies import EXPECTED, OutgoingProxy, ProxySettings, own_proxy

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What holds.

    Attributes:
        proxy: None for none.
        no_proxy: what is reached directly all the same.
        path: the key that says which proxy.

    """

    proxy: OutgoingProxy | None = None
    no_proxy: tuple[Exemption, ...] = ()
    path: Path = field(default=("proxy",), compare=False)

    def with_own(self, own: ProxySettings, path: Path) -> Choice:
        """Return what holds for something with keys of its own, if it has them."""
        proxy, key = (self.proxy, self.path) if own.proxy is None else (own.proxy, (*path, "proxy"))
        if proxy is not None and proxy.text == NONE:
            proxy = None
        return Choice(proxy, self.no_proxy if own.no_proxy is None else own.no_proxy, key)

    async def rules(self) -> ProxyRules:
        """Return what it means now.

        Raises:
            ConfigError: the proxy's URL can't be had, or is none.

        """
        if self.proxy is None:
            return DIRECT
        try:
            return rules(await self.proxy.get(), self.no_proxy)
        except SecretError as failure:
            problem = str(failure)
        except ValueError:
            problem = f"{self.proxy.source.where} holds no proxy; {EXPECTED}"
        except ConfigError as failure:
            problem = str(failure)
        # Raised outside: what failed may have the URL on it.
        raise ConfigError(f"{dotted(self.path)}: {problem}")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The rules of one configuration.

    Attributes:
        routes: by the route's name.
        credentials: by the credential's name, ``routes.NAME`` for one that stands in a route.

    """

    routes: Mapping[str, ProxyRules] = field(default_factory=dict)
    credentials: Mapping[str, ProxyRules] = field(default_factory=dict)


async def outgoing(top: Choice, routes: Mapping[str, RouteSettings], credentials: Mapping[str, Credential]) -> Outgoing:
    """Return the rules of a configuration.

    Raises:
        ConfigError: a proxy's URL can't be had, or is none.

    """
    of_routes = route_choices(top, routes)
    of_credentials = credential_choices(top, of_routes, routes, credentials)
    return Outgoing(
        {name: await choice.rules() for name, choice in of_routes.items()},
        {name: await choice.rules() for name, choice in of_credentials.items()},
    )


def route_choices(top: Choice, routes: Mapping[str, RouteSettings]) -> dict[str, Choice]:
    """Return what holds for each route."""
    return {name: top.with_own(route, ("routes", name)) for name, route in routes.items()}


def credential_choices(
    top: Choice,
    of_routes: Mapping[str, Choice],
    routes: Mapping[str, RouteSettings],
    credentials: Mapping[str, Credential],
) -> dict[str, Choice]:
    """Return what holds for what each credential requests."""
    found = {}
    users = _users(routes, credentials)
    for name, credential in credentials.items():
        base = next((of_routes[user] for user in users.get(name, ())), top)
        found[name] = _own(credential, base, top, ("credentials", name))
    for name, route in routes.items():
        if isinstance(route.credential, Credential):
            path = ("routes", name, "credential")
            found[f"routes.{name}"] = _own(route.credential, of_routes[name], top, path)
    return found


def _own(credential: Credential, base: Choice, top: Choice, path: Path) -> Choice:
    own = own_proxy(credential)
    if own is None:
        return base
    return (base if own.proxy is None else top).with_own(own, path)


def conflicts(
    top: Choice, routes: Mapping[str, RouteSettings], credentials: Mapping[str, Credential]
) -> Iterator[Mistake]:
    """Credentials without a proxy of their own, whose routes have different ones."""
    of_routes = route_choices(top, routes)
    for name, users in _users(routes, credentials).items():
        own = own_proxy(credentials[name])
        if own is None or own.proxy is not None or not own.shares_requests:
            continue
        first, *others = (_meaning(of_routes[user].with_own(own, ())) for user in users)
        for user, other in zip(users[1:], others, strict=True):
            if other != first:
                text = f"is missing, and routes.{users[0]} and routes.{user} have different ones; {EXPECTED}"
                yield Mistake(("credentials", name, "proxy"), text)
                break


def _meaning(choice: Choice) -> Choice:
    return choice if choice.proxy is not None else Choice()


def _users(routes: Mapping[str, RouteSettings], credentials: Mapping[str, Credential]) -> dict[str, list[str]]:
    """Names of the routes that use each credential, be it as a member of another one."""
    users: dict[str, list[str]] = {}
    for route, settings in routes.items():
        given = settings.credential
        pending = [given] if isinstance(given, str) else list(given.named())
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in credentials and name not in seen:
                seen.add(name)
                users.setdefault(name, []).append(route)
                pending += credentials[name].named()
    return users
