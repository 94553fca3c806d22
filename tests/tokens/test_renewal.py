from __future__ import annotations

import asyncio

import pytest

from proxy.errors import CredentialError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens import _renewal
from proxy.tokens.endpoint import Refused
from tests.doubles import START, settle
from tests.tokens.bench import Bench, failure, text

# -- refresh tokens ------------------------------------------------------------------------------------------


async def test_a_rotated_refresh_token_is_saved_before_its_token_is_used(bench: Bench) -> None:
    bench.store.saving = asyncio.Event()
    waiting = asyncio.create_task(bench.source.token())
    await settle()
    assert (bench.store.events, waiting.done()) == (["lock", "load", "save"], False)
    assert bench.source.current is None
    bench.store.saving.set()
    assert await text(waiting) == "token-1"


async def test_refresh_tokens_follow_each_other(bench: Bench) -> None:
    bench.steps = [bench.new(refresh_token="r1"), bench.new(refresh_token="r2"), bench.new(), bench.new()]
    token = await bench.source.token()
    for _ in range(3):
        token = await bench.source.renew(token)
    assert bench.fetched == [None, "r1", "r2", "r2"], "one that is not rotated stays good"
    assert (await bench.store.load("key")) == token


async def test_a_stored_refresh_token_is_used_after_a_start(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    assert await text(bench.source.token()) == "token-1"
    assert bench.fetched == ["r1"]


@pytest.mark.parametrize("code", ["invalid_grant", "unauthorized_client", "unsupported_grant_type"])
async def test_a_refresh_token_that_is_dead_makes_it_begin_anew_and_is_forgotten(bench: Bench, code: str) -> None:
    await bench.store.save("key", Token("old", START - 1, "dead"))
    bench.steps = [Refused(code)]
    token = await bench.source.token()
    await bench.source.renew(token)
    assert bench.fetched == ["dead", None, None]
    assert bench.renewals == ["api success"] * 2


async def test_another_refusal_does_not_make_it_begin_anew(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    bench.steps = [Refused("invalid_client")]
    await failure(bench.source.token())
    assert bench.fetched == ["r1"]


# -- the store -----------------------------------------------------------------------------------------------


async def test_the_newer_token_of_another_process_is_adopted(bench: Bench) -> None:
    old = await bench.source.token()
    other = bench.another()
    await other.renew(await other.token())
    assert await text(bench.source.renew(old)) == "token-2"
    assert len(bench.fetched) == 2


async def test_a_token_that_can_not_be_saved_serves_from_memory(bench: Bench) -> None:
    bench.store.broken = {"save"}
    assert await text(bench.source.token()) == "token-1"
    assert await text(bench.source.token()) == "token-1"
    assert bench.warnings == ["credential api: can't save; it serves from memory"]


@pytest.mark.parametrize("broken", [{"save"}, {"lock", "save"}, {"lock", "load", "save"}, {"load", "save"}])
@pytest.mark.parametrize("refused", [True, False])
async def test_a_rotated_refresh_token_is_kept_in_memory_when_the_store_fails(
    bench: Bench, broken: set[str], refused: bool
) -> None:
    lives = [bench.new(refresh_token=f"r{number}") for number in (1, 2, 3)]
    bench.steps = [*lives]
    token = await bench.source.token()
    bench.store.broken = broken
    for _ in range(2):
        await bench.advance(1)
        if refused:
            token = await bench.source.renew(token)
        else:
            bench.clock.now = token.expires_at or 0  # and no timer has seen it
            bench.steps = [bench.new(refresh_token=f"r{len(bench.fetched) + 1}")]
            token = await bench.source.token()
    bench.store.broken = set()
    await bench.source.renew(token)
    assert bench.fetched == [None, "r1", "r2", "r3"], "an old one makes servers revoke the whole family"
    saved = await bench.store.load("key")
    assert saved == bench.source.current


async def test_an_unsaved_token_is_not_replaced_by_the_older_one_of_the_store(bench: Bench) -> None:
    bench.steps = [bench.new(life=None, refresh_token="r1")]
    first = await bench.source.token()
    bench.store.broken = {"save"}
    await bench.advance(1)
    bench.steps = [bench.new(life=100, refresh_token="r2")]
    await bench.source.renew(first)
    bench.source._get._dead.clear()  # as after many more refusals
    await bench.advance(80)
    assert bench.fetched == [None, "r1", "r2"]


async def test_a_login_is_adopted_even_if_the_last_save_failed(bench: Bench) -> None:
    bench.store.broken = {"save"}
    token = await bench.source.token()
    bench.store.broken = set()
    await bench.advance(1)
    await bench.store.save("key", Token("of a login", None, obtained_at=bench.clock.time()))
    assert await text(bench.source.renew(token)) == "of a login"


async def test_without_its_lock_it_goes_on(bench: Bench) -> None:
    bench.store.broken = {"lock"}
    assert await text(bench.source.token()) == "token-1"
    assert bench.warnings == ["credential api: can't lock; tokens serve from memory"]
    assert await bench.store.load("key") == bench.source.current


async def test_a_lock_that_can_not_be_given_back_costs_no_second_fetch(bench: Bench) -> None:
    bench.store.broken = {"unlock"}
    assert await text(bench.source.token()) == "token-1"
    assert bench.fetched == [None]


async def test_a_store_that_can_not_be_read_is_said_and_does_not_matter(bench: Bench) -> None:
    bench.store.broken = {"load"}
    assert await text(bench.source.token()) == "token-1"
    assert bench.warnings == ["credential api: can't load"]


# -- repeats -------------------------------------------------------------------------------------------------


def unsent() -> TokenEndpointDown:
    return TokenEndpointDown("the token endpoint: The upstream refuses connections")


def lost() -> TokenEndpointDown:
    return TokenEndpointDown("the token endpoint: The upstream closed the connection without an answer", sent=True)


async def test_an_endpoint_that_is_away_for_a_moment_is_not_noticed(bench: Bench) -> None:
    bench.steps = [unsent(), unsent()]
    assert await text(bench.source.token()) == "token-1"
    assert (bench.fetched, bench.renewals) == ([None] * 3, ["api success"])
    assert bench.clock.slept == [0.125, 0.5]


async def test_one_that_stays_away_is_left_alone(bench: Bench) -> None:
    bench.steps = [unsent() for _ in range(100)]
    for _ in range(100):
        assert (await failure(bench.source.token())).status == 503
    assert (len(bench.fetched), bench.renewals) == (3, ["api unavailable"])


async def test_an_answer_that_is_lost_is_asked_for_again_with_the_same_refresh_token_once(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    bench.steps = [lost()]
    assert await text(bench.source.token()) == "token-1"
    assert bench.fetched == ["r1", "r1"]


async def test_but_not_twice(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    bench.steps = [lost(), lost()]
    await failure(bench.source.token())
    assert bench.fetched == ["r1", "r1"]


async def test_one_that_was_never_sent_does_not_count(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    bench.steps = [unsent(), lost()]
    assert await text(bench.source.token()) == "token-1"
    assert bench.fetched == ["r1"] * 3


async def test_who_tells_to_wait_is_not_asked_again_at_once(bench: Bench) -> None:
    bench.steps = [TokenEndpointDown("busy", retry_after=0.1, sent=True)]
    await failure(bench.source.token())
    assert bench.fetched == [None]


async def test_nor_is_who_took_long_to_fail(bench: Bench) -> None:
    async def slow() -> Token:
        bench.clock.now += 5.1
        raise unsent()

    bench.steps = [slow]
    await failure(bench.source.token())
    assert bench.fetched == [None]


# -- the store's lock ----------------------------------------------------------------------------------------


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_renewal, "WAITS", (0.001, 0.001, 0.001))
    monkeypatch.setattr(_renewal, "LONG", 0.002)


pytestmark = pytest.mark.usefixtures("hurried")


async def test_a_lock_that_can_not_be_had_in_time_is_said(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))
    async with bench.store.lock("key"):
        problem = await failure(bench.source.token())
    assert (problem.status, problem.detail) == (503, "another process has held the token's lock for 0.003 s")
    assert (bench.fetched, bench.renewals) == ([], []), "a refresh token that is sent twice may cost them all"
    await bench.advance(1)
    assert await text(bench.source.token()) == "token-1"


async def test_without_a_refresh_token_it_goes_on(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1))
    async with bench.store.lock("key"):
        assert await text(bench.source.token()) == "token-1"
    assert bench.warnings == [
        "credential api: another process has held the token's lock for 0.002 s; going on without it"
    ]


async def test_what_the_holder_saved_is_taken_though_it_holds_on(bench: Bench) -> None:
    async with bench.store.lock("key"):
        await bench.store.save("key", Token("of another", None, "r2"))
        assert await text(bench.source.token()) == "of another"
    assert bench.fetched == []


# -- a refusal -----------------------------------------------------------------------------------------------


async def test_on_invalid_grant_the_store_is_read_again(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))

    async def too_late() -> Token:
        await bench.store.save("key", Token("of a login", None, "r2"))
        raise Refused("invalid_grant")

    bench.steps = [too_late]
    assert await text(bench.source.token()) == "of a login"
    assert (bench.fetched, bench.renewals) == (["r1"], [])


async def test_one_that_is_over_is_renewed_by_its_own_refresh_token(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))

    async def too_late() -> Token:
        await bench.store.save("key", Token("of another", START - 1, "r2"))
        raise Refused("invalid_grant")

    bench.steps = [too_late]
    assert await text(bench.source.token()) == "token-1"
    assert bench.fetched == ["r1", "r2"]


async def test_a_store_that_is_unreadable_by_then_changes_nothing(bench: Bench) -> None:
    await bench.store.save("key", Token("old", START - 1, "r1"))

    async def refusing() -> Token:
        bench.store.broken = {"load"}
        raise Refused("invalid_grant")

    bench.steps = [refusing, CredentialError("login needed")]
    said = "login needed (the token endpoint refused: invalid_grant)"
    assert (await failure(bench.source.token())).detail == said
    assert bench.fetched == ["r1", None]


async def test_it_is_told_that_a_token_is_in_memory_only(bench: Bench) -> None:
    bench.store.broken = {"save"}
    token = await bench.source.token()
    assert bench.source.standing().unsaved == "can't save"
    bench.store.broken = set()
    await bench.source.renew(token)
    assert bench.source.standing().unsaved == ""
