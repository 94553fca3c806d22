from __future__ import annotations

import asyncio

import pytest

from proxy.errors import TokenEndpointDown
from proxy.stores import Token
from proxy.tokens import source as module
from proxy.tokens.endpoint import Refused
from tests.doubles import START, settle
from tests.tokens.bench import Bench, down, failure, text

# -- once ----------------------------------------------------------------------------------------------------


async def test_two_hundred_who_want_it_at_once_cost_one_fetch(bench: Bench) -> None:
    tokens = await asyncio.gather(*(bench.source.token() for _ in range(200)))
    assert {token.access_token for token in tokens} == {"token-1"}
    assert (bench.fetched, bench.renewals) == ([None], ["api success"])
    assert await text(bench.source.token()) == "token-1"
    assert bench.source.current == tokens[0]


async def test_who_asked_first_may_go_away(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> Token:
        await gate.wait()
        return bench.new()

    bench.steps = [slow]
    first = asyncio.create_task(bench.source.token())
    others = [asyncio.create_task(bench.source.token()) for _ in range(3)]
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    gate.set()
    assert [await text(other) for other in others] == ["token-1"] * 3
    assert bench.fetched == [None]


async def test_all_of_them_may_go_away_and_the_token_is_there_all_the_same(bench: Bench) -> None:
    bench.steps = [down()]
    waiting = [asyncio.create_task(bench.source.token()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    await settle()
    assert bench.renewals == ["api unavailable"]


async def test_two_processes_fetch_once(bench: Bench) -> None:
    other = bench.another()
    tokens = await asyncio.gather(bench.source.token(), other.token())
    assert {token.access_token for token in tokens} == {"token-1"}
    assert bench.fetched == [None]


async def test_a_failure_is_everybodys_and_costs_one_fetch(bench: Bench) -> None:
    bench.steps = [down()]
    failures = await asyncio.gather(*(bench.source.token() for _ in range(200)), return_exceptions=True)
    assert {type(each) for each in failures} == {TokenEndpointDown}
    assert bench.fetched == [None]


# -- refused by the API --------------------------------------------------------------------------------------


async def test_the_token_that_was_refused_is_renewed_once_however_many_were_refused(bench: Bench) -> None:
    old = await bench.source.token()
    tokens = await asyncio.gather(*(bench.source.renew(old) for _ in range(200)))
    assert {token.access_token for token in tokens} == {"token-2"}
    assert len(bench.fetched) == 2


async def test_a_late_refusal_of_an_old_token_renews_nothing(bench: Bench) -> None:
    old = await bench.source.token()
    new = await bench.source.renew(old)
    assert await bench.source.renew(old) is new
    assert len(bench.fetched) == 2


async def test_a_refused_token_is_never_given_again(bench: Bench) -> None:
    old = await bench.source.token()
    bench.steps = [down(), down()]
    await failure(bench.source.renew(old))
    await failure(bench.source.token())
    await bench.advance(5)
    await failure(bench.source.token())
    await bench.advance(10)
    assert await text(bench.source.token()) == "token-2"


async def test_a_refused_token_is_not_taken_from_the_store_even_later(bench: Bench) -> None:
    first = await bench.source.token()
    bench.store.broken = {"save"}
    second = await bench.source.renew(first)
    third = await bench.source.renew(second)
    await bench.source.renew(third)
    assert [each.access_token for each in (second, third)] == ["token-2", "token-3"]
    assert len(bench.fetched) == 4


async def test_one_that_is_issued_again_is_good_again_and_costs_one_fetch(bench: Bench) -> None:
    old = await bench.source.token()
    bench.steps = [old.with_refresh_token("r")]  # an authorization server with a cache
    tokens = await asyncio.gather(*(bench.source.renew(old) for _ in range(200)))
    again = await bench.source.renew(old)
    assert {token.access_token for token in [*tokens, again]} == {"token-1"}
    assert (len(bench.fetched), await text(bench.source.token())) == (2, "token-1")


async def test_a_refusal_during_an_early_renewal_waits_for_that_one(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> Token:
        await gate.wait()
        return bench.new()

    old = await bench.source.token()
    bench.steps = [slow]
    await bench.advance(3550)
    renewing = asyncio.create_task(bench.source.renew(old))
    await settle()
    assert bench.source.valid() is None
    gate.set()
    assert await text(renewing) == "token-2"
    assert len(bench.fetched) == 2


async def test_nobody_waits_longer_than_patience_has_it(bench: Bench) -> None:
    gate = asyncio.Event()

    async def hanging() -> Token:
        await gate.wait()
        return bench.new()

    bench.steps = [hanging]
    bench.source._patience = 0.01
    problem = await failure(bench.source.token())
    assert (problem.status, problem.retry_after, problem.detail) == (503, 1, "no token within 0.01 s")
    gate.set()
    await settle()
    assert (await text(bench.source.token()), len(bench.fetched)) == ("token-1", 1)


# -- what others put into the store ---------------------------------------------------------------------------


async def test_a_login_is_taken_up_at_once(bench: Bench) -> None:
    await bench.source.token()
    await bench.store.save("key", Token("of a login", None))
    await settle()
    assert bench.source.valid() == Token("of a login", None)
    assert bench.fetched == [None]


async def test_also_while_it_rests(bench: Bench) -> None:
    bench.steps = [Refused("invalid_grant")]
    await failure(bench.source.token())
    await bench.store.save("key", Token("of a login", None))
    await settle()
    assert bench.source.valid() == Token("of a login", None)
    assert bench.source.standing().resting_until is None


@pytest.mark.parametrize(
    ("name", "token"),
    [("another key", Token("of another", None)), ("key", Token("over", START - 1)), ("key", Token("token-1", None))],
)
async def test_what_is_another_s_or_over_or_dead_is_not(bench: Bench, name: str, token: Token) -> None:
    serving = await bench.source.renew(await bench.source.token())
    await bench.store.save(name, token)
    await settle()
    assert bench.source.valid() is serving


async def test_one_whose_store_can_not_be_read_is_not_taken_for_forgotten(bench: Bench) -> None:
    serving = await bench.source.token()
    bench.store.broken = {"load"}
    await bench.store.forget("key")
    await settle()
    assert bench.source.valid() is serving


async def test_its_own_saves_change_nothing(bench: Bench) -> None:
    serving = await bench.source.token()
    await bench.store.save("key", serving)
    await settle()
    assert bench.source.valid() is serving


async def test_what_was_seen_before_a_renewal_does_not_replace_its_token(bench: Bench) -> None:
    old = await bench.source.token()
    loading, go_on = asyncio.Event(), asyncio.Event()
    load = bench.store.load

    async def slow(name: str) -> Token | None:
        found = await load(name)
        if not loading.is_set():
            loading.set()
            await go_on.wait()
        return found

    bench.store.load = slow  # type: ignore[method-assign]  # one that takes its time
    await bench.store.save("key", Token("of a login", None))
    await loading.wait()
    await bench.store.forget("key")
    new = await bench.source.renew(old)
    go_on.set()
    await settle()
    assert (bench.source.valid(), new.access_token) == (new, "token-2")


async def test_a_token_that_is_forgotten_by_a_command_is_dropped_unless_the_store_never_had_it(bench: Bench) -> None:
    await bench.source.token()
    await bench.store.forget("key")
    await settle()
    assert bench.source.valid() is None
    assert (await bench.source.token()).access_token == "token-2"
    await bench.store.save("key", Token("of a login", None))
    await settle()
    bench.store.broken = {"save"}
    held = bench.source.valid()
    assert held is not None
    newest = await bench.source.renew(held)
    await bench.store.forget("key")
    await settle()
    assert bench.source.valid() is newest


async def test_a_store_that_can_not_be_read_is_no_reason_to_stop(bench: Bench) -> None:
    serving = await bench.source.token()
    bench.store.broken = {"load"}
    await bench.store.save("key", Token("of a login", None))
    await settle()
    assert (bench.source.valid(), bench.warnings) == (serving, [])


async def test_who_has_ended_does_not_look(bench: Bench) -> None:
    serving = await bench.source.token()
    await bench.store.save("key", Token("of a login", None))
    await bench.source.aclose()
    await bench.store.save("key", Token("of another login", None))
    await settle()
    assert bench.source.current is serving


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_renewal_under_way_comes_to_its_end(bench: Bench) -> None:
    waiting = asyncio.create_task(bench.source.token())
    await asyncio.sleep(0)
    waiting.cancel()
    await bench.source.aclose()
    assert await bench.store.load("key") == bench.source.current is not None


@pytest.mark.parametrize("end", ["settle", "aclose"])
async def test_with_none_there_is_nothing_to_wait_for(bench: Bench, end: str) -> None:
    await getattr(bench.source, end)()
    assert bench.fetched == []


async def test_one_that_hangs_is_not_waited_for_when_it_ends(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.01)

    async def never() -> Token:
        await asyncio.Event().wait()
        raise AssertionError

    bench.steps = [never]
    waiting = asyncio.create_task(bench.source.token())
    await settle()
    await bench.source.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_settling_takes_as_long_as_it_takes(bench: Bench) -> None:
    gate = asyncio.Event()

    async def slow() -> Token:
        await gate.wait()
        return bench.new()

    bench.steps = [slow]
    waiting = asyncio.create_task(bench.source.token())
    await settle()
    settling = asyncio.create_task(bench.source.settle())
    await settle()
    assert not settling.done()
    gate.set()
    await settling
    assert await text(waiting) == "token-1"


async def test_no_timer_is_left(bench: Bench) -> None:
    await bench.source.token()
    await bench.source.aclose()
    await bench.advance(3600)
    assert len(bench.fetched) == 1


async def test_a_renewal_that_is_cancelled_with_the_process_is_quiet(bench: Bench) -> None:
    async def never() -> Token:
        await asyncio.Event().wait()
        raise AssertionError

    bench.steps = [never]
    waiting = asyncio.create_task(bench.source.token())
    await settle()
    assert bench.source._renewal is not None
    bench.source._renewal.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await text(bench.source.token()) == "token-1"
