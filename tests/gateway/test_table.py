"""Which route a request takes."""

from __future__ import annotations

import time
from itertools import product
from random import Random
from typing import Any

import httpx
import pytest

from proxy.credentials import Scheme
from proxy.errors import NoRoute
from proxy.gateway import Entrance
from proxy.gateway.exchange import Exchange
from proxy.gateway.guard import Admitted
from proxy.gateway.retry import RetrySettings
from proxy.gateway.route import Route
from proxy.gateway.settings import RouteSettings
from proxy.gateway.table import RouteTable
from proxy.gateway.upstream import Upstream
from tests.doubles import FakeClock, Script

MAIN = Entrance("127.0.0.1:8080", 8080)
OWN = Entrance("127.0.0.1:9001", 9001)


class Plain(Scheme):
    fields: frozenset[bytes] = frozenset()

    async def apply(self, request: httpx.Request) -> None:
        raise AssertionError


def table(**routes: dict[str, Any]) -> RouteTable:
    made = []
    for name, keys in routes.items():
        settings = RouteSettings.model_validate({"upstream": f"https://{name}.test", **keys})
        upstream = Upstream(settings.upstream, Script(), Script())
        exchange = Exchange(upstream, Plain(), RetrySettings(), clock=FakeClock(), random=Random(1))
        made.append(Route(name, settings, exchange, Plain(), settings.limits, settings.timeout))
    return RouteTable(made)


def found(routes: RouteTable, path: str, host: str = "localhost:8080", at: Entrance = MAIN) -> str | None:
    try:
        return routes.find(at, Admitted(path.encode(), path.encode(), host.encode())).name
    except NoRoute as error:
        assert error.status == 404  # noqa: PT017  # a helper, not the test
        return None


def named(routes: RouteTable, upstream: str, path: str = "/", at: Entrance = MAIN) -> str | None:
    admitted = Admitted(path.encode(), path.encode(), upstream.encode(), upstream.encode())
    try:
        return routes.find(at, admitted).name
    except NoRoute:
        return None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/x/y", "a"),
        ("/a/b", "ab"),
        ("/a/b/c", "ab"),
        ("/a/bc", "a"),
        ("/a//b", "a"),
        ("/ab", "root"),
        ("/A", "root"),
        ("/", "root"),
        ("//a", "root"),
        ("/%61", "root"),
        ("/a%2Fb", "root"),
        ("/a;x", "root"),
        ("*", "root"),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(path: str, name: str) -> None:
    routes = {"a": {"prefix": "/a"}, "ab": {"prefix": "/a/b"}, "root": {}}
    assert found(table(**routes), path) == name
    assert found(table(**dict(reversed(routes.items()))), path) == name


@pytest.mark.parametrize("path", ["/", "/ab", "/x", "*", "//a", "/x/a"])
def test_without_a_match_there_is_no_route(path: str) -> None:
    assert found(table(a={"prefix": "/a"}), path) is None
    assert found(table(), path) is None


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("api.localhost", "/", "host"),
        ("API.localhost:8080", "/x", "host"),
        ("api.localhost", "/a", "host"),
        ("api.localhost", "/a/b", "deep"),
        ("localhost", "/a/b", "a"),
        ("localhost", "/a", "a"),
        ("x.api.localhost", "/a", "a"),
        ("localhost", "/", None),
        ("[::1]:8080", "/", "six"),
    ],
)
def test_a_host_goes_before_a_prefix(host: str, path: str, name: str | None) -> None:
    routes = table(
        host={"host": "Api.localhost"},
        deep={"host": "api.localhost", "prefix": "/a/b"},
        a={"prefix": "/a"},
        six={"host": "[::1]"},
    )
    assert found(routes, path, host) == name


def test_a_host_without_a_match_leaves_it_to_the_prefixes() -> None:
    routes = table(host={"host": "api.localhost", "prefix": "/a"}, root={})
    assert found(routes, "/b", "api.localhost") == "root"


@pytest.mark.parametrize(
    ("at", "host", "path", "name"),
    [
        (OWN, "localhost", "/", "own"),
        (OWN, "localhost", "/a", "own"),
        (OWN, "localhost", "/a/b", "own_deep"),
        (OWN, "api.localhost", "/a", "own_host"),
        (MAIN, "localhost", "/", None),
        (MAIN, "localhost", "/a", "a"),
        (MAIN, "api.localhost", "/x", "host"),
    ],
)
def test_a_listener_of_a_routes_own_goes_before_all_and_serves_nothing_else(
    at: Entrance, host: str, path: str, name: str | None
) -> None:
    routes = table(
        own={"listen": "127.0.0.1:9001"},
        own_deep={"listen": "127.0.0.1:9001", "prefix": "/a/b"},
        own_host={"listen": "127.0.0.1:9001", "host": "api.localhost"},
        host={"host": "api.localhost"},
        a={"prefix": "/a"},
    )
    assert found(routes, path, host, at) == name


def test_an_own_listener_does_not_fall_back_to_others() -> None:
    routes = table(own={"listen": "127.0.0.1:9001", "prefix": "/own"}, root={})
    assert found(routes, "/x", at=OWN) is None
    assert found(routes, "/own") == "root"


# -- absolute-form targets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authority", "path", "name"),
    [
        ("api.test", "/v1", "v1"),
        ("api.test", "/v1/x", "v1"),
        ("api.test", "/v1/deep/x", "deep"),
        ("API.test:443", "/v1/x", "v1"),
        ("api.test:80", "/v1/x", "v1"),
        ("api.test", "/v1x", None),
        ("api.test", "/", None),
        ("api.test:8443", "/x", "port"),
        ("api.test:8080", "/x", None),
        ("xapi.test", "/v1", None),
        ("evil.test", "/v1", None),
        ("localhost:9000", "/x", "plain"),
        ("[::1]:9000", "/x", "six"),
    ],
)
def test_an_absolute_target_is_served_if_it_names_an_upstream(authority: str, path: str, name: str | None) -> None:
    routes = table(
        v1={"prefix": "/a", "upstream": "https://api.test/v1/"},
        deep={"prefix": "/b", "upstream": "https://api.test/v1/deep"},
        port={"prefix": "/c", "upstream": "https://api.test:8443"},
        plain={"prefix": "/d", "upstream": "http://localhost:9000"},
        six={"prefix": "/e", "upstream": "http://[::1]:9000"},
    )
    assert named(routes, authority, path) == name


def test_an_absolute_target_does_not_lead_around_a_routes_own_listener() -> None:
    routes = table(own={"listen": "127.0.0.1:9001"}, main={"prefix": "/m"})
    assert named(routes, "own.test", at=OWN) == "own"
    assert named(routes, "own.test", at=MAIN) is None
    assert named(routes, "main.test", at=MAIN) == "main"
    assert named(routes, "main.test", at=OWN) is None


def test_a_look_up_costs_as_much_with_many_routes() -> None:
    routes = table(**{f"r{number}": {"prefix": f"/r{number}"} for number in range(500)})
    assert found(routes, "/r499/x") == "r499"
    assert found(routes, "/" + "x/" * 1000) is None
    assert len(routes.routes) == 500


@pytest.mark.parametrize("prefixes", [["", "/a", "/a/b", "/ab/c"], ["/a/b"], [""], ["/abc", "/a"]])
def test_the_longest_prefix_of_whole_segments_wins_by_definition(prefixes: list[str]) -> None:
    routes = table(**{f"r{at}": {"prefix": prefix} for at, prefix in enumerate(prefixes)})
    for path in map("/".join, product(["", "a", "b", "ab", "abc", "c"], repeat=4)):
        below = [prefix for prefix in prefixes if path == prefix or path.startswith(f"{prefix}/") or not prefix]
        wanted = f"r{prefixes.index(max(below, key=len))}" if below else None
        assert found(routes, path) == wanted


def test_no_path_has_slashes_enough_to_keep_it_busy() -> None:
    routes = table(a={"prefix": "/a"}, b={"prefix": "/b/c"})
    began = time.process_time()
    assert found(routes, "/a" + "/" * 32_000) == "a"
    assert time.process_time() - began < 0.02
