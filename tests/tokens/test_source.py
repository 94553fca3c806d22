from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from proxy.errors import CredentialError, InternalError, ProxyError, SecretError, StoreError, TokenEndpointDown
from proxy.stores import Token
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.tokens.endpoint import Refused
from proxy.tokens.source import TokenSource
from tests.doubles import START, FakeClock, settle


def down() -> TokenEndpointDown:
    return TokenEndpointDown("the token endpoint answered 500", retry_after=1)


class BrittleStore(MemoryStore):
    """One that fails where it is told to, and notes what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.events: list[str] = []
        self.saving: asyncio.Event | None = None

    def _happens(self, what: str) -> None:
        self.events.append(what)
        if what in self.broken:
            raise StoreError(f"can't {what}")

    async def load(self, name: str) -> Token | None:
        self._happens("load")
        return await super().load(name)

    async def save(self, name: str, token: Token) -> None:
        self._happens("save")
        if self.saving is not None:
            await self.saving.wait()
        await super().save(name, token)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._locked(name)

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        self._happens("lock")
        async with super().lock(name):
            yield
        self._happens("unlock")


Step = Token | Exception | Callable[[], Awaitable[Token]]


@dataclass
class Bench:
    """A source with everything around it."""

    clock: FakeClock = field(default_factory=FakeClock)
    store: BrittleStore = field(default_factory=BrittleStore)
    steps: list[Step] = field(default_factory=list)
    fetched: list[str | None] = field(default_factory=list)
    renewals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.source = self.another()

    def another(self) -> TokenSource:
        """A source of the same credential in another process, as it were."""
        tokens = Tokens(
            self.store,
            self.clock,
            httpx.AsyncBaseTransport(),
            lambda credential, outcome: self.renewals.append(f"{credential} {outcome}"),
            self.warnings.append,
        )
        return TokenSource("api", self._key, self._fetch, tokens, 60)

    async def _key(self) -> str:
        return "key"

    async def _fetch(self, refresh_token: str | None) -> Token:
        self.fetched.append(refresh_token)
        await asyncio.sleep(0)
        step = self.steps.pop(0) if self.steps else self.new()
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Token) else await step()

    def new(self, life: float | None = 3600, refresh_token: str | None = None) -> Token:
        self.count += 1
        now = self.clock.time()
        return Token(f"token-{self.count}", None if life is None else now + life, refresh_token, obtained_at=now)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def text(token: Awaitable[Token]) -> str:
    return (await token).access_token


async def failure(token: Awaitable[Token]) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await token
    return caught.value


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
    old = await bench.source.token()
    await bench.advance(3550)
    await bench.source.token()
    assert await text(bench.source.renew(old)) == "token-2"
    assert len(bench.fetched) == 2


# -- early ---------------------------------------------------------------------------------------------------


async def test_it_is_renewed_in_the_background_before_its_end(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3539)
    assert await text(bench.source.token()) == "token-1"
    await settle()
    assert len(bench.fetched) == 1
    await bench.advance(1)
    assert [await text(bench.source.token()) for _ in range(3)] == ["token-1"] * 3
    await settle()
    assert (await text(bench.source.token()), len(bench.fetched)) == ("token-2", 2)


async def test_a_token_that_lives_four_seconds_is_renewed_in_its_last(bench: Bench) -> None:
    bench.steps = [bench.new(life=4)]
    await bench.source.token()
    await bench.advance(2.9)
    await bench.source.token()
    await settle()
    assert len(bench.fetched) == 1
    await bench.advance(0.1)
    assert await text(bench.source.token()) == "token-1"
    await settle()
    assert await text(bench.source.token()) == "token-2"


async def test_a_renewal_that_fails_early_leaves_the_token_serving(bench: Bench) -> None:
    await bench.source.token()
    bench.steps = [down(), Refused("invalid_client")]
    await bench.advance(3545)
    for _ in range(3):
        assert await text(bench.source.token()) == "token-1"
        await settle()
    assert bench.renewals == ["api success", "api unavailable"]
    await bench.advance(2)
    assert await text(bench.source.token()) == "token-1"
    await settle()
    assert bench.renewals[-1] == "api refused"


async def test_one_that_is_over_is_not_given_even_while_its_renewal_rests(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3600)
    bench.steps = [down()]
    await failure(bench.source.token())
    assert isinstance(await failure(bench.source.token()), TokenEndpointDown)
    assert len(bench.fetched) == 2


async def test_one_whose_end_is_not_known_serves_until_it_is_refused(bench: Bench) -> None:
    bench.steps = [bench.new(life=None)]
    token = await bench.source.token()
    await bench.advance(1e9)
    assert await bench.source.token() is token
    assert await text(bench.source.renew(token)) == "token-2"


# -- rest ----------------------------------------------------------------------------------------------------


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


async def test_it_is_adopted_early_too(bench: Bench) -> None:
    await bench.source.token()
    await bench.advance(3550)
    await bench.store.save("key", Token("of another", bench.clock.time() + 3600))
    await bench.source.token()
    await settle()
    assert (await text(bench.source.token()), len(bench.fetched)) == ("of another", 1)


async def test_a_token_that_can_not_be_saved_serves_from_memory(bench: Bench) -> None:
    bench.store.broken = {"save"}
    assert await text(bench.source.token()) == "token-1"
    assert await text(bench.source.token()) == "token-1"
    assert bench.warnings == ["credential api: can't save; the token serves from memory"]


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
            bench.clock.now = token.expires_at or 0
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
    bench.source._dead.clear()  # as after many more refusals
    await bench.advance(80)
    await bench.source.token()
    await settle()
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


# -- the end -------------------------------------------------------------------------------------------------


async def test_a_renewal_under_way_comes_to_its_end(bench: Bench) -> None:
    waiting = asyncio.create_task(bench.source.token())
    await asyncio.sleep(0)
    waiting.cancel()
    await bench.source.aclose()
    assert await bench.store.load("key") == bench.source.current is not None


async def test_with_none_there_is_nothing_to_wait_for(bench: Bench) -> None:
    await bench.source.aclose()
    assert bench.fetched == []


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
