"""What one configuration is made into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme

from proxy.config import load, read
from proxy.credentials import Scheme
from proxy.environment import Environment
from proxy.errors import ConfigError
from proxy.gateway.gates import ROUTE, Refusal, scope_of
from proxy.generation import Generation, Surroundings, prepare
from proxy.reload import beside
from proxy.stores import Store
from proxy.stores.memory import MemoryStore
from tests.doubles import FakeClock

SURROUNDINGS = Surroundings(
    FakeClock(), Random(1), lambda credential, outcome: None, lambda text: None, lambda failure: None
)
ROUTES = {name: {"prefix": f"/{name}", "upstream": "https://api.test"} for name in ("a", "b")}


async def generation(table: dict[str, Any], store: Store | None = None) -> Generation:
    settings = load(overrides={"tokens": {"store": "memory"}, **table}, use_file=False)
    return Generation(settings, store or MemoryStore(), SURROUNDINGS, await settings.outgoing())


async def test_routes_that_name_the_same_credential_share_it() -> None:
    made = await generation(
        {
            "routes": {
                "a": {"prefix": "/a", "upstream": "https://api.test", "credential": "key"},
                "b": {"prefix": "/b", "upstream": "https://api.test", "credential": "key"},
                "c": {"prefix": "/c", "upstream": "https://api.test", "credential": {"type": "bearer", "token": "x"}},
                "d": {"prefix": "/d", "upstream": "https://api.test"},
            },
            "credentials": {"key": {"type": "bearer", "token": "x"}},
        }
    )
    a, b, c, d = (route.scheme for route in made.gateway.table.routes)
    assert a is b
    assert len({id(a), id(c), id(d)}) == 3
    await made.aclose()


async def test_a_credential_may_be_called_none() -> None:
    made = await generation(
        {
            "routes": {"a": {"upstream": "https://api.test", "credential": "none"}},
            "credentials": {"none": {"type": "bearer", "token": "x"}},
        }
    )
    assert made.gateway.table.routes[0].scheme.fields == {b"authorization"}
    await made.aclose()


async def test_global_keys_hold_where_the_route_has_none_of_its_own() -> None:
    made = await generation(
        {
            "retry": {"attempts": 7, "backoff": "1s"},
            "routes": {"a": {"upstream": "https://api.test", "retry": {"backoff": "2s"}}},
        }
    )
    retry = made.gateway.table.routes[0].exchange._retry
    assert (retry.attempts, retry.backoff) == (7, 2.0)
    await made.aclose()


async def test_a_missing_certificate_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match=r"tls\.ca"):
        await generation({"routes": {"a": {"upstream": "https://api.test", "tls": {"ca": "/nowhere.pem"}}}})


async def test_what_takes_long_can_be_prepared_before(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    key = {"type": "jwt", "key": "x" * 32}
    route = {"upstream": "https://a.test", "http2": True, "tls": {"ca": str(tmp_path / "ca.pem")}}
    table = {"routes": {"a": {**route, "credential": key, "prefix": "/a"}, "b": {**route, "credential": "named"}}}
    settings = read(overrides={"tokens": {"store": "memory"}, "credentials": {"named": key}, **table}, use_file=False)
    await beside(partial(prepare, settings))
    (tmp_path / "ca.pem").write_text("broken")
    with settings.environment.staged():
        made = Generation(settings, MemoryStore(), SURROUNDINGS, await settings.outgoing())
    await made.aclose()
    (tmp_path / "ca.pem").unlink()
    with Environment().staged(), pytest.raises(ConfigError, match=r"ca\.pem"):
        Generation(settings, MemoryStore(), SURROUNDINGS, await settings.outgoing())


async def test_what_can_t_be_closed_keeps_nothing_else_open() -> None:
    class Broken(Scheme):
        closed = 0

        async def aclose(self) -> None:
            Broken.closed += 1
            raise RuntimeError

    defects: list[Exception] = []
    settings = read(overrides={"tokens": {"store": "memory"}, "routes": ROUTES}, use_file=False)
    made = Generation(settings, MemoryStore(), replace(SURROUNDINGS, defect=defects.append), await settings.outgoing())
    made._built[:] = [("one", Broken()), ("two", Broken())]
    closed: list[None] = []

    async def close() -> None:
        closed.append(None)
        raise RuntimeError

    for route in made.gateway.table.routes:
        route.aclose = close  # type: ignore[method-assign]  # for this test
    await made.aclose()
    assert (Broken.closed, len(closed), len(defects)) == (2, 2, 4)


async def test_an_inline_credential_tells_its_expiry_and_is_closed_once_like_any_other() -> None:
    class Counted(Scheme):
        closed = 0

        def expires_at(self) -> float | None:
            return 7.0

        async def aclose(self) -> None:
            self.closed += 1

    made = await generation({"routes": {"a": {"upstream": "https://api.test", "credential": {"type": "none"}}}})
    assert [name for name, _ in made._built] == ["routes.a"]
    scheme = Counted()
    made._built[:] = [("routes.a", scheme)]
    made.gateway.table.routes[0].scheme = scheme
    assert list(made.expiries()) == [("routes.a", 7.0)]
    await made.aclose()
    assert scheme.closed == 1


class Sharing(MemoryStore):
    """A store by which pauses are shared at once with everyone."""

    def __init__(self) -> None:
        super().__init__()
        self.hearing: list[Callable[[str, float], None]] = []

    def share_pause(self, name: str, seconds: float) -> None:
        for paused in self.hearing:
            paused(name, seconds)

    def watch_pauses(self, paused: Callable[[str, float], None]) -> Callable[[], None]:
        self.hearing.append(paused)
        return lambda: self.hearing.remove(paused)


async def test_replicas_wait_together_at_the_gate_of_the_same_route_credential_and_api() -> None:
    def table(credential: str, **more: str) -> dict[str, Any]:
        return {
            "routes": {"a": {"upstream": "https://api.test", "credential": credential, **more}},
            "credentials": {name: {"type": "bearer", "token": "x"} for name in ("key", "other")},
        }

    store = Sharing()
    tables = [table("key"), table("key"), table("other"), table("key", upstream="https://other.test")]
    replicas = [await generation(each, store) for each in tables]
    gates = [made.gateway.table.routes[0].exchange.gates for made in replicas]
    scopes = [scope_of("GET", b"/search"), scope_of("GET", b"/user")]
    for request in ("one", "another"):
        gates[0].refused(Refusal(request, scopes[0], 20.0, is_stated=True, is_wide=True))
    assert [each.remaining() for each in gates] == [20.0, 20.0, 0.0, 0.0]
    assert [set(each._closed) for each in gates] == [{scopes[0]}, {scopes[0]}, set(), set()]
    gates[0].refused(Refusal("a third", scopes[1], 30.0, is_stated=True, is_wide=True))
    assert [each.remaining() for each in gates] == [30.0, 30.0, 0.0, 0.0]
    assert [set(each._closed) for each in gates[:2]] == [{scopes[0], ROUTE}] * 2
    for made in replicas:
        await made.aclose()
    assert store.hearing == []
