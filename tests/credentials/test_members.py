"""What all credentials share that are a choice of others."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from proxy.credentials import Scheme
from proxy.errors import SecretError
from tests.credentials.doubles import URL, Bench, build, draft, parse, request, values
from tests.doubles import FakeClock, Script


@pytest.fixture(params=["fallback", "rotate"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def bearer(token: str) -> Scheme:
    return build({"type": "bearer", "token": token})


def missing() -> Scheme:
    return build({"type": "bearer", "token": {"env": "NOT_SET"}})


def three(kind: str, **others: Scheme) -> Scheme:
    members = {"a": bearer("A"), "b": bearer("B"), "c": bearer("C"), **others}
    return build({"type": kind, "credentials": ["a", "b", "c"]}, others=members, clock=FakeClock())


async def test_each_begins_with_the_request_as_it_was(kind: str) -> None:
    query = build({"type": "api_key", "name": "k", "value": "v", "in": "query"})
    field = build({"type": "api_key", "name": "X-Key", "value": "ä"})
    bench = Bench(three(kind, a=query, b=field), 401, 401, 200)
    await bench(draft(fields=[(b"X-Ml", b"\xfc")]))
    first, second, third = bench.api.requests
    assert [each.extensions["target"] for each in bench.api.requests] == [b"/base/x?a=1&k=v", *[b"/base/x?a=1"] * 2]
    assert [values(each, "X-Key") for each in (first, second, third)] == [[], ["ä".encode()], []]
    assert [values(each, "X-Ml") for each in (first, second, third)] == [[b"\xfc"]] * 3
    assert values(third, "Authorization") == [b"Bearer C"]


class Redirecting(Scheme):
    """One that sends its request elsewhere."""

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.url = httpx.URL("https://elsewhere.test/")
        request.extensions.pop("target")
        yield request


async def test_one_that_goes_elsewhere_does_not_take_the_next_one_along(kind: str) -> None:
    bench = Bench(three(kind, a=Redirecting()), 200, elsewhere=Script(401))
    assert (await bench()).status_code == 200
    assert (len(bench.elsewhere.requests), bench.sent("Authorization")) == (1, [b"Bearer B"])
    assert bench.api.requests[0].url == URL


async def test_one_that_is_ready_is_enough(kind: str) -> None:
    await three(kind, a=missing(), b=missing()).ready()
    with pytest.raises(SecretError):
        await three(kind, a=missing(), b=missing(), c=missing()).ready()


async def test_explaining_it_tells_which_one_comes_first(kind: str) -> None:
    to = request()
    assert await three(kind).explain(to) == {"credential": "a"}
    assert values(to, "Authorization") == [b"Bearer ***"]


def test_it_sets_what_any_of_them_sets(kind: str) -> None:
    key = build({"type": "api_key", "name": "X-Key", "value": "v"})
    assert three(kind, b=key).fields == {b"authorization", b"x-key"}


@pytest.mark.parametrize("credentials", [[], ["a"], "a"])
def test_one_alone_is_no_choice(kind: str, credentials: Any) -> None:
    with pytest.raises(ValidationError):
        parse({"type": kind, "credentials": credentials})


def test_an_environment_variable_may_name_them(kind: str) -> None:
    assert parse({"type": kind, "credentials": "a, b"}).named() == ("a", "b")


async def test_urls_lose_the_parameters_of_every_member(kind: str) -> None:
    keys = {name: build({"type": "api_key", "name": name, "value": "v", "in": "query"}) for name in ("a", "b")}
    assert three(kind, **keys).without_credential(b"/x?b=v&a=v&d=1") == b"/x?d=1"
