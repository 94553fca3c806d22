"""Which route a request takes: the most specific match wins.

A listener of a route's own goes before a host, a host before the longest prefix of whole segments. Looking a
route up costs as much with one route as with five hundred.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.errors import NoRoute
from proxy.gateway import Entrance
from proxy.gateway.guard import Admitted, split_host
from proxy.gateway.rewrite import is_below, plain_authority
from proxy.gateway.route import Route
from proxy.transport.origin import socket_of

_Key = tuple[str | None, bytes | None]
_Prefixes = dict[bytes, Route]


class RouteTable:
    """The routes of one configuration."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_place: dict[_Key, _Prefixes] = {}
        self._by_upstream: dict[bytes, list[Route]] = {}
        for route in self.routes:
            settings = route.settings
            host = settings.host.encode() if settings.host else None
            self._by_place.setdefault((settings.listen, host), {})[route.prefix] = route
            upstream = route.exchange.upstream
            if socket_of(upstream.url) is None:  # no URL that a client could send names a unix socket
                self._by_upstream.setdefault(upstream.plain_authority, []).append(route)
        for routes_there in self._by_upstream.values():
            routes_there.sort(key=lambda route: -len(route.top))
        self._longest = max((len(route.prefix) for route in self.routes), default=0)
        self._has_hosts = any(host is not None for _, host in self._by_place)
        self._own_entrances = frozenset(listen for listen, _ in self._by_place if listen is not None)

    def find(self, entrance: Entrance, admitted: Admitted) -> Route:
        """Return the route that a request takes.

        Raises:
            NoRoute: there is none.

        """
        listen = entrance.name if entrance.name in self._own_entrances else None
        if admitted.upstream is not None:
            return self._named(listen, admitted.upstream, admitted.path)
        host = split_host(admitted.authority)[0] if self._has_hosts else None
        # A listener of routes' own serves nothing else.
        for key in ((listen, host), (listen, None)) if host is not None else ((listen, None),):
            prefixes = self._by_place.get(key)
            if prefixes is not None:
                route = self._nearest(prefixes, admitted.path)
                if route is not None:
                    return route
        raise NoRoute("no route matches this path; the status page and `countersign check` list them")

    def _nearest(self, prefixes: _Prefixes, path: bytes) -> Route | None:
        end = len(path)
        if end > self._longest:  # else a path of thousands of slashes would be cut at each of them
            end = path.rfind(b"/", 0, self._longest + 1)
        while end > 0:
            route = prefixes.get(path[:end])
            if route is not None:
                return route
            end = path.rfind(b"/", 0, end)
        return prefixes.get(b"")

    def _named(self, listen: str | None, authority: bytes, path: bytes) -> Route:
        """Return the route to an upstream that an absolute-form target names, whatever its scheme."""
        for scheme in (b"http:", b"https:"):
            for route in self._by_upstream.get(plain_authority(authority, scheme), ()):
                is_its_own = is_below(path, route.top) or (path == b"*" and not route.top)
                if route.settings.listen == listen and is_its_own:
                    return route
        raise NoRoute("no route leads to this upstream; the proxy serves only the upstreams of its routes")
