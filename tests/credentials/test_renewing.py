from __future__ import annotations

import asyncio
from typing import Literal

import httpx
import pytest

from proxy.credentials import Context, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.secrets import Secret
from proxy.stores import Token
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.tokens.endpoint import Refused
from tests.credentials.doubles import Bench, request, values
from tests.doubles import START, FakeClock, Script, answer


class Counted(Renewable):
    """A token that is a number."""

    type: Literal["counted"] = "counted"
    secret: Secret

    def build(self, context: Context) -> Scheme:
        return CountedScheme(self, context)


class CountedScheme(TokenScheme):
    def __init__(self, settings: Counted, context: Context) -> None:
        super().__init__(settings, context, refresh_before=60)
        self._secret = settings.secret
        self.fetched = 0
        self.failure: Exception | None = None

    async def facts(self) -> list[object]:
        return [await self._secret.get()]

    async def fetch(self) -> Token:
        self.fetched += 1
        if self.failure is not None:
            raise self.failure
        return Token(f"t{self.fetched}", START + 1000, obtained_at=self._clock.time())


class House:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()

    def build(self, name: str = "api", **keys: object) -> CountedScheme:
        others: dict[str, Scheme] = {}
        tokens = Tokens(self.store, self.clock, Script())
        settings = Counted.model_validate({"secret": "canary-x", **keys})
        scheme = settings.build(Context(name, others.__getitem__, tokens, self.clock))
        assert isinstance(scheme, CountedScheme)
        return scheme


async def test_a_refused_token_is_renewed_once_and_the_request_repeated() -> None:
    scheme = House().build()
    bench = Bench(scheme, 401, 200, 200)
    assert [(await bench()).status_code, bench.story.notes] == [200, ("renewed token",)]
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2", b"Bearer t2"]


class Refusing(Script):
    """An API that takes no token but one, whenever it is asked."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        return answer(200 if request.headers["authorization"] == "Bearer t2" else 401)


async def test_a_hundred_refused_at_once_cost_one_renewal() -> None:
    scheme = House().build()
    bench = Bench(scheme)
    bench.api = bench.exchange.upstream._transport = Refusing()
    responses = await asyncio.gather(*(bench() for _ in range(100)))
    assert ({response.status_code for response in responses}, scheme.fetched) == ({200}, 2)


async def test_an_api_that_refuses_every_token_costs_ever_fewer_renewals() -> None:
    house = House()
    scheme = house.build()
    bench = Bench(scheme, *[401] * 1000)
    for _ in range(100):
        assert (await bench()).status_code == 401
        await house.clock.advance(1)
    assert scheme.fetched <= 9
    assert bench.story.failure == "renewal failed: the API refused a new token a moment ago"
    bench.api.steps = [200]
    assert (await bench()).status_code == 200


async def test_one_that_was_good_for_a_while_is_renewed_at_once() -> None:
    house = House()
    scheme = house.build()
    bench = Bench(scheme, 401, 401, 200, 401)
    await bench()
    await bench()
    await house.clock.advance(1)
    assert (await bench()).status_code == 200
    bench.api.steps = [401, 200]
    assert (await bench()).status_code == 200
    assert scheme.fetched == 4


async def test_a_renewal_that_fails_leaves_the_401() -> None:
    scheme = House().build()
    bench = Bench(scheme, 401)
    await scheme.ready()
    scheme.failure = Refused("invalid_client")
    assert (await bench()).status_code == 401
    assert "invalid_client" in bench.story.failure


async def test_a_stored_token_serves_after_a_start_and_another_configuration_never_meets_it() -> None:
    house = House()
    await house.build().ready()
    again, other, named = house.build(), house.build(secret="canary-y"), house.build("other")
    for scheme in (again, other, named):
        await scheme.ready()
        await scheme.aclose()
    assert [scheme.fetched for scheme in (again, other, named)] == [0, 1, 1]
    assert all("canary" not in name for name in await house.store.names())


async def test_its_expiry_is_told_and_explaining_it_fetches_nothing() -> None:
    scheme = House().build()
    assert scheme.expires_at() is None
    to = request()
    assert await scheme.explain(to) == {}
    assert (values(to, "Authorization"), scheme.fetched) == ([b"Bearer ***"], 0)
    await scheme.ready()
    assert scheme.expires_at() == START + 1000


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_other_answers_are_handed_on(status: int) -> None:
    bench = Bench(House().build(), status)
    assert (await bench()).status_code == status
