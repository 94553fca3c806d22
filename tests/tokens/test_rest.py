from __future__ import annotations

import asyncio

import pytest

from proxy.errors import CredentialError, InternalError, ProxyError, SecretError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens._rest import Doubt
from proxy.tokens.endpoint import Refused
from tests.doubles import FakeClock
from tests.tokens.bench import Bench, down, failure, text


@pytest.mark.parametrize(
    ("problem", "rests"),
    [
        (Refused("invalid_client"), [1, 2, 4, 8, 16, 32, 60, 60, 60]),
        (CredentialError("garbage"), [1, 2, 4, 8, 16, 32, 60, 60, 60]),
        (down(), [1, 2, 4, 8, 16, 30, 30]),
        (InternalError("a defect"), [1, 2, 4, 8, 16, 30, 30]),
        (TokenEndpointDown("busy", retry_after=12), [12, 12, 12, 12, 16, 30]),
        (TokenEndpointDown("busy", retry_after=3600), [30, 30]),
    ],
    ids=["invalid_client", "garbage", "down", "defect", "told", "told too long"],
)
async def test_the_pauses_after_failures_grow(bench: Bench, problem: ProxyError, rests: list[float]) -> None:
    for number, rest in enumerate(rests, start=1):
        bench.steps = [type(problem)("invalid_client") if isinstance(problem, Refused) else
                       type(problem)(problem.detail, retry_after=problem.retry_after)]  # fmt: skip
        await failure(bench.source.token())
        await bench.advance(rest - 0.01)
        await failure(bench.source.token())
        assert len(bench.fetched) == number
        await bench.advance(0.01)
    assert await text(bench.source.token()) == "token-1"
    bench.steps = [down()]
    await failure(bench.source.renew(await bench.source.token()))
    await bench.advance(1)
    assert await text(bench.source.token()) == "token-2", "a success begins the pauses anew"


async def test_an_outage_tells_when_it_is_asked_again(bench: Bench) -> None:
    bench.steps = [TokenEndpointDown("busy", retry_after=1), TokenEndpointDown("busy", retry_after=1)]
    await failure(bench.source.token())
    await bench.advance(1)
    assert (await failure(bench.source.token())).retry_after == 2
    await bench.advance(0.5)
    resting = await failure(bench.source.token())
    assert (resting.detail, resting.retry_after, resting.status) == ("busy", 1.5, 503)


async def test_a_refusal_is_told_while_it_rests(bench: Bench) -> None:
    bench.steps = [Refused("invalid_client")]
    first = await failure(bench.source.token())
    resting = [await failure(bench.source.token()) for _ in range(3)]
    assert {(each.detail, each.status, each.retry_after) for each in [first, *resting]} == {
        ("the token endpoint refused: invalid_client", 502, None)
    }
    assert len({id(each) for each in [first, *resting]}) == 4, "one that is raised again grows by a traceback"


async def test_a_login_ends_the_rest(bench: Bench) -> None:
    bench.steps = [Refused("invalid_grant")]
    await failure(bench.source.token())
    await bench.store.save("key", Token("of a login", None))
    assert await text(bench.source.token()) == "of a login"
    assert bench.fetched == [None]


async def test_a_login_that_others_take_up_meanwhile_is_no_trouble(bench: Bench) -> None:
    bench.steps = [Refused("invalid_grant")]
    await failure(bench.source.token())
    await bench.store.save("key", Token("of a login", None))
    tokens = await asyncio.gather(*(bench.source.token() for _ in range(20)))
    assert {each.access_token for each in tokens} == {"of a login"}


async def test_a_secret_that_is_missing_is_said_each_time(bench: Bench) -> None:
    bench.steps = [SecretError("the file x can't be read")] * 2
    for _ in range(2):
        with pytest.raises(SecretError, match="the file x"):
            await bench.source.token()
    assert await text(bench.source.token()) == "token-1"


async def test_a_thousand_requests_while_it_rests_cost_nothing(bench: Bench) -> None:
    bench.steps = [Refused("invalid_client")]
    failures = [await failure(bench.source.token()) for _ in range(1000)]
    assert {each.status for each in failures} == {502}
    assert bench.fetched == [None]


async def test_it_is_told_who_rests_and_until_when(bench: Bench) -> None:
    assert bench.source.standing().resting_until is None
    bench.steps = [Refused("invalid_client")]
    await failure(bench.source.token())
    standing = bench.source.standing()
    assert standing.resting_until == bench.clock.time() + 1
    assert standing.problem == "the token endpoint refused: invalid_client"
    await bench.advance(1)
    assert (bench.source.standing().resting_until, bench.source.standing().problem) == (None, standing.problem)
    await bench.source.token()
    assert bench.source.standing().problem == ""


# -- an API that refuses every token -------------------------------------------------------------------------


async def test_an_api_that_refuses_every_new_token_costs_ever_fewer_of_them(bench: Bench) -> None:
    problems = []
    for _ in range(1000):
        token = await bench.source.token()
        try:
            new = await bench.source.renew(token)
        except CredentialError as problem:
            problems.append(problem.detail)
        else:
            bench.source.hear(new, refused=True)
        await bench.advance(0.1)
    assert len(bench.fetched) == 8, "in 100 s: the first, and after 0, 1, 3, 7, 15, 31 and 63 s"
    assert problems == ["the API refused a new token a moment ago"] * (1000 - 7)
    assert await text(bench.source.token()) == "token-8", "which serves: its refusals are handed on"


def test_many_that_were_refused_with_the_same_token_are_one_refusal() -> None:
    clock = FakeClock()
    doubt, token = Doubt(clock), object()
    for _ in range(100):
        doubt.hear(token, refused=True)
    clock.now += 1
    doubt.check()
    doubt.hear(object(), refused=True)
    clock.now += 1
    with pytest.raises(CredentialError):
        doubt.check()


def test_one_that_is_taken_ends_it() -> None:
    doubt = Doubt(FakeClock())
    doubt.hear(object(), refused=True)
    doubt.hear(object(), refused=False)
    doubt.check()
