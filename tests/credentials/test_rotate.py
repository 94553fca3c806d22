from __future__ import annotations

from typing import Any

import httpx
import pytest

from proxy.credentials import Scheme
from proxy.errors import CredentialError, Throttled
from proxy.gateway.gates import Gates
from proxy.gateway.retry import GateMode
from tests.credentials.doubles import Bench, build, content, draft
from tests.doubles import FakeClock, Script, answer


def bearer(token: str) -> Scheme:
    return build({"type": "bearer", "token": token})


class Rota:
    """A route whose credential takes turns, on one clock."""

    def __init__(
        self, *steps: httpx.Response | Exception | int, names: str = "abc", gate: GateMode = "auto", **others: Scheme
    ) -> None:
        self.clock = FakeClock()
        members = {name: bearer(name.upper()) for name in "abc"} | others
        self.scheme = build({"type": "rotate", "credentials": list(names)}, others=members, clock=self.clock)
        self.bench = Bench(self.scheme, *steps)
        self.bench.exchange._clock = self.clock
        self.bench.exchange.gates = Gates(self.clock, gate, 30.0)

    async def __call__(self, **keys: Any) -> int:
        response = await self.bench(draft(**keys))
        await response.aclose()
        return response.status_code

    @property
    def used(self) -> str:
        return "".join(value.decode().removeprefix("Bearer ") for value in self.bench.sent("Authorization"))


def throttled(seconds: int | None = 5, status: int = 429) -> httpx.Response:
    return answer(status, [] if seconds is None else [(b"Retry-After", b"%d" % seconds)], b"slow down")


async def test_they_take_turns() -> None:
    rota = Rota()
    assert [await rota() for _ in range(7)] == [200] * 7
    assert rota.used == "ABCABCA"


async def test_one_that_is_throttled_rests_as_long_as_told_and_the_next_one_serves() -> None:
    rota = Rota(throttled(5))
    assert await rota(method="POST") == 200
    assert rota.bench.story.notes == ("credential b",)
    assert rota.bench.exchange.gates.is_open
    for _ in range(3):
        await rota()
    assert rota.used == "AB" + "BCB"
    await rota.clock.advance(5)
    for _ in range(3):
        await rota()
    assert rota.used == "ABBCB" + "BCA"


async def test_one_that_is_refused_rests_longer_each_time() -> None:
    rota = Rota(401, 200, names="ab")
    await rota()
    assert rota.used == "AB"
    for rest in (1, 2, 4):
        await rota.clock.advance(rest - 0.1)
        await rota()
        assert rota.used[-1] == "B"
        await rota.clock.advance(0.1)
        rota.bench.api.steps = [401]
        rota.scheme._turn = 0  # type: ignore[attr-defined]  # a RotateScheme
        await rota()
        assert rota.used[-2:] == "AB"


async def test_one_that_serves_again_rests_shortly_the_next_time() -> None:
    rota = Rota(401, 200, names="ab")
    await rota()
    await rota.clock.advance(1)
    rota.scheme._turn = 0  # type: ignore[attr-defined]  # a RotateScheme
    await rota()
    rota.bench.api.steps = [200, 401]
    await rota()
    await rota()
    assert rota.used == "AB" + "A" + "B" + "AB"
    await rota.clock.advance(1)
    rota.scheme._turn = 0  # type: ignore[attr-defined]  # a RotateScheme
    await rota()
    assert rota.used[-1] == "A"


async def test_when_all_rest_the_last_answer_is_handed_on() -> None:
    rota = Rota(throttled(100), throttled(200), answer(429, [(b"Retry-After", b"300")], b"the last"))
    response = await rota.bench()
    assert (response.status_code, await content(response)) == (429, b"the last")
    assert response.headers["retry-after"] == "300"
    assert rota.used == "ABC"


async def test_the_gate_closes_until_the_first_of_them_is_free() -> None:
    rota = Rota(throttled(100), throttled(60), throttled(300), gate="route")
    await rota()
    with pytest.raises(Throttled) as caught:
        await rota.bench()
    assert caught.value.retry_after == 60
    await rota.clock.advance(61)
    assert await rota() == 200
    assert rota.used == "ABC" + "B"
    await rota.bench.exchange.aclose()


async def test_when_all_rest_for_long_other_requests_are_sent_with_the_first_to_be_free() -> None:
    rota = Rota(throttled(100), throttled(60), throttled(300))
    assert [await rota(), await rota()] == [429, 200]
    assert rota.used == "ABC" + "B"


async def test_a_refusal_of_all_is_tried_once_for_each_request() -> None:
    rota = Rota(*[401] * 5, names="ab")
    assert [await rota() for _ in range(3)] == [401] * 3
    assert rota.used == "AB" + "B" + "A"


async def test_a_403_that_throttles_rests_it_and_is_repeated_if_the_method_allows_it() -> None:
    limited = [(b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Reset", b"50")]
    rota = Rota(answer(403, limited), 200, answer(403, limited))
    assert await rota(method="POST") == 403
    assert await rota() == 200
    assert rota.used == "AB"


@pytest.mark.parametrize("status", [403, 404, 500, 503])
async def test_any_other_answer_is_handed_on(status: int) -> None:
    rota = Rota(status)
    assert await rota(method="POST") == status
    assert rota.used == "A"


async def test_an_api_that_is_down_is_nobodys_own() -> None:
    rota = Rota(throttled(100, 503))
    assert await rota() == 503
    assert rota.used == "A"
    assert rota.scheme._rests[0].until == 0  # type: ignore[attr-defined]  # a RotateScheme


async def test_a_member_renews_before_it_rests() -> None:
    issuer = Script(*(answer(200, [], b'{"access_token": "t%d"}' % number) for number in range(3)))
    oauth2 = build({"type": "oauth2", "grant": "client_credentials", "token_url": "https://issuer.test/t",
                    "client_id": "i", "client_secret": "s"}, issuer=issuer)  # fmt: skip
    rota = Rota(401, 200, 200, names="ab", a=oauth2)
    assert [await rota(), await rota()] == [200, 200]
    assert rota.used == "t0t1B"


async def test_one_that_can_not_be_had_is_passed_over_and_rests() -> None:
    rota = Rota(names="ab", a=bearer_missing())
    assert [await rota() for _ in range(3)] == [200] * 3
    assert rota.used == "BBB"


async def test_when_none_can_be_had_it_says_why() -> None:
    rota = Rota(names="ab", a=bearer_missing(), b=bearer_missing())
    with pytest.raises(CredentialError, match="NOT_SET is not set"):
        await rota()


def bearer_missing() -> Scheme:
    return build({"type": "bearer", "token": {"env": "NOT_SET"}})
