"""Tokens that are renewed before their end, by a timer or by who comes late, and whatever the clocks say."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import SecretError, TokenEndpointDown
from proxy.log import mask
from proxy.stores import Token
from proxy.tokens.endpoint import Refused
from tests.doubles import settle
from tests.tokens.bench import Bench, down, failure, text


async def test_it_is_renewed_in_the_background_before_its_end(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> Token:
        await gate.wait()
        return bench.new()

    await bench.source.token()
    bench.steps = [slow]
    await bench.advance(3539.9)
    assert len(bench.fetched) == 1
    await bench.advance(0.2)
    assert len(bench.fetched) == 2
    assert [await text(bench.source.token()) for _ in range(3)] == ["token-1"] * 3
    gate.set()
    await settle()
    assert (await text(bench.source.token()), len(bench.fetched)) == ("token-2", 2)


async def test_each_renewal_is_said_at_debug_level(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3540)
    token = await bench.source.token()
    await bench.source.renew(token)
    await bench.advance(3 * 3600)
    bench.steps = [down()]
    await failure(bench.source.token())
    await bench.advance(60)
    await bench.source.token()
    assert bench.debug == [
        "credential api: obtained a token",
        "credential api: renewed early, 60 s before the token expires",
        "credential api: renewed, since the API refused the last token",
        "credential api: renewed early, 60 s before the token expires",
        "credential api: renewed after the token expired",
    ]
    assert [mask(line) for line in bench.debug] == bench.debug


async def test_a_token_of_another_process_is_no_renewal(bench: Bench) -> None:
    await bench.another().token()
    await bench.source.token()
    assert bench.debug == ["credential api: obtained a token"]


async def test_no_request_has_to_come_for_that(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3599)
    assert (bench.fetched, bench.renewals) == ([None, None], ["api success"] * 2)
    assert bench.source.valid() is bench.source.current


async def test_one_that_nobody_uses_falls_asleep(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(100 * 3600)
    assert len(bench.fetched) == 2, "it had been used since it was fetched; the second has not"
    assert bench.source.valid() is None
    assert await text(bench.source.token()) == "token-3"


async def test_who_comes_late_to_one_that_sleeps_wakes_it(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3550)
    assert len(bench.fetched) == 2
    await bench.advance(3550)  # the second has not been used
    assert len(bench.fetched) == 2
    assert await text(bench.source.token()) == "token-2"
    await settle()
    assert (len(bench.fetched), await text(bench.source.token())) == (3, "token-3")


async def test_a_token_that_lives_four_seconds_is_renewed_in_its_last(bench: Bench) -> None:
    bench.steps = [bench.new(life=4)]
    await bench.source.token()
    await bench.advance(2.9)
    assert len(bench.fetched) == 1
    await bench.advance(0.1)
    assert len(bench.fetched) == 2


async def test_a_renewal_that_fails_early_leaves_the_token_serving(bench: Bench) -> None:
    bench.steps = [bench.new(), down(), Refused("invalid_client"), bench.new()]
    await bench.source.token()
    await bench.advance(3540)
    assert [await text(bench.source.token()) for _ in range(100)] == ["token-1"] * 100
    assert bench.renewals == ["api success", "api unavailable"]
    await bench.advance(1)
    assert [await text(bench.source.token()) for _ in range(100)] == ["token-1"] * 100
    assert bench.renewals == ["api success", "api unavailable", "api refused"]
    await bench.advance(2)
    assert await text(bench.source.token()) == "token-2"


async def test_one_that_is_over_is_not_given_even_while_its_renewal_rests(bench: Bench) -> None:
    await bench.source.token()
    bench.steps = [down() for _ in range(20)]
    await bench.advance(3600)
    asked = len(bench.fetched)
    assert 5 <= asked <= 7, "after 1, 2, 4 … seconds within its last minute"
    assert isinstance(await failure(bench.source.token()), TokenEndpointDown)
    assert len(bench.fetched) == asked


async def test_an_endpoint_that_is_down_is_not_asked_for_one_that_nobody_uses(bench: Bench) -> None:
    await bench.source.token()
    bench.steps = [down() for _ in range(20)]
    await bench.advance(3600)
    asked = len(bench.fetched)
    await bench.advance(3600)
    assert len(bench.fetched) == asked


async def test_a_secret_that_is_missing_is_looked_for_once_a_second(bench: Bench) -> None:
    await bench.source.token()
    bench.steps = [SecretError("x") for _ in range(1000)]
    await bench.advance(3550)
    assert 10 <= len(bench.fetched) <= 12


async def test_a_defect_is_told_and_does_not_end_it(bench: Bench) -> None:
    await bench.source.token()
    bench.steps = [RuntimeError("canary-5a")]
    await bench.advance(3540.5)
    assert bench.warnings == ["credential api: the renewal failed with RuntimeError"]
    await bench.advance(1)
    assert await text(bench.source.token()) == "token-2"


async def test_one_whose_end_is_not_known_serves_until_it_is_refused(bench: Bench) -> None:
    bench.steps = [bench.new(life=None)]
    token = await bench.source.token()
    await bench.advance(1e9)
    assert await bench.source.token() is token
    assert await text(bench.source.renew(token)) == "token-2"


async def test_the_newer_token_of_another_process_is_adopted_early(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3500)
    await bench.store.save("key", Token("of another", bench.clock.time() + 3600))
    await bench.advance(50)
    assert (await text(bench.source.token()), len(bench.fetched)) == ("of another", 1)


# -- clocks --------------------------------------------------------------------------------------------------


async def test_a_machine_that_slept_costs_one_renewal(bench: Bench) -> None:
    await bench.source.token()
    bench.clock.jumped = 8 * 3600  # and the monotonic clock stood still
    assert bench.source.valid() is None
    tokens = await asyncio.gather(*(bench.source.token() for _ in range(200)))
    assert {token.access_token for token in tokens} == {"token-2"}
    assert len(bench.fetched) == 2


async def test_one_that_slept_into_the_last_minute_goes_on_with_what_it_has(bench: Bench) -> None:
    await bench.source.token()
    bench.clock.jumped = 3550
    assert await text(bench.source.token()) == "token-1"
    await settle()
    assert (await text(bench.source.token()), len(bench.fetched)) == ("token-2", 2)


@pytest.mark.parametrize("jump", [-86400 * 365, -3600, -1, 1, 1800])
async def test_a_clock_that_is_put_right_costs_nothing(bench: Bench, jump: float) -> None:
    await bench.source.token()
    await bench.advance(1000)
    bench.clock.jumped = jump
    for _ in range(100):
        assert await text(bench.source.token()) == "token-1"
    await settle()
    assert len(bench.fetched) == 1


@pytest.mark.parametrize("jump", [-86400 * 365, -3600, -1])
async def test_one_that_is_over_is_not_given_though_the_clock_was_put_back(bench: Bench, jump: float) -> None:
    bench.steps = [bench.new(), *[down() for _ in range(20)]]
    await bench.source.token()
    bench.clock.jumped = jump
    await bench.advance(3599)
    assert await text(bench.source.token()) == "token-1"
    await bench.advance(1)
    assert bench.source.valid() is None


async def test_after_any_jump_the_next_token_lives_as_long_as_the_first(bench: Bench) -> None:
    token = await bench.source.token()
    for jump in (86400.0, -86400.0, 365 * 86400.0):
        bench.clock.jumped = jump
        token = await bench.source.renew(token)
        await bench.advance(3539)
        assert await bench.source.token() is token


async def test_one_that_is_over_before_it_could_be_saved_is_not_given(bench: Bench) -> None:
    async def sleepy() -> Token:
        token = bench.new()
        bench.clock.jumped += 8 * 3600
        return token

    bench.steps = [sleepy]
    assert await text(bench.source.token()) == "token-2"
    bench.clock.jumped += 8 * 3600
    bench.steps = [sleepy, sleepy]
    assert (await failure(bench.source.token())).detail == "the token was over before it could be used"
