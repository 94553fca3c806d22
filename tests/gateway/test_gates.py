"""Which gate closes for which refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.errors import ShuttingDown, Throttled
from proxy.gateway.gates import MOST, ROUTE, Gates, Refusal, Refusals, scope_of
from proxy.gateway.retry import LONGEST, GateMode
from tests.doubles import FakeClock, settle

MAX_WAIT = 30.0


class Case:
    """The gates of a route, and requests ``GET /PATH``."""

    def __init__(self, mode: GateMode = "auto") -> None:
        self.clock = FakeClock()
        self.gates = Gates(self.clock, mode, MAX_WAIT)
        self.shared: list[tuple[str, float]] = []
        self.gates.share = lambda scope, seconds: self.shared.append((scope, seconds))
        self.tasks: list[asyncio.Task[float]] = []

    def refused(
        self, request: str, path: str, seconds: float = 10.0, *, stated: bool = True, status: int = 429
    ) -> bool:
        scope = scope_of("GET", path.encode())
        return self.gates.refused(Refusal(request, scope, seconds, is_stated=stated, is_wide=status != 503))

    async def waits(self, path: str, method: str = "GET") -> bool:
        """Whether a request of the path would wait now."""

        async def walk() -> float:
            waited, turn = await self.gates.enter(method, path.encode(), MAX_WAIT)
            turn.end(refused=True)
            return waited

        task = asyncio.create_task(walk())
        self.tasks.append(task)
        await settle()
        return not task.done()

    @property
    def closed(self) -> set[str]:
        return set(self.gates._closed)

    @property
    def queues(self) -> set[str]:
        return set(self.gates._queues)

    async def aclose(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.gates.aclose()


A, B = scope_of("GET", b"/a"), scope_of("GET", b"/b")


def test_a_scope_is_method_and_path_without_the_query_and_shows_neither() -> None:
    assert scope_of("GET", b"/a?x=1") == A == scope_of("GET", b"/a?x=2")
    assert len({A, B, scope_of("POST", b"/a"), scope_of("GET", b"/a/"), scope_of("OPTIONS", b"*")}) == 5
    assert len(scope_of("GET", b"/secret" * 10_000)) == 32
    assert "secret" not in scope_of("GET", b"/secret")


async def test_a_first_refusal_closes_nothing() -> None:
    case = Case()
    assert not case.refused("1", "/a")
    assert case.gates.is_open
    assert not await case.waits("/a")


async def test_a_second_one_closes_the_gate_of_the_same_method_and_path() -> None:
    case = Case()
    case.refused("1", "/a?first", 10)
    await case.clock.advance(4)
    assert case.refused("2", "/a?second", 6)
    assert (case.closed, case.shared) == ({A}, [(A, 6)])
    assert await case.waits("/a?third")
    assert not await case.waits("/b")
    assert not await case.waits("/a", "POST")
    assert case.gates.remaining() == pytest.approx(6)
    await case.clock.advance(6.5)
    assert case.gates.is_open
    assert not await case.waits("/a")
    await case.aclose()


async def test_of_different_paths_it_closes_the_route() -> None:
    case = Case()
    case.refused("1", "/a", 10)
    assert case.refused("2", "/b", 5)
    assert (case.closed, case.shared) == ({ROUTE}, [(ROUTE, 5)])
    assert await case.waits("/c")
    await case.aclose()


async def test_the_same_request_refused_again_is_no_second_one() -> None:
    case = Case()
    for _ in range(3):
        assert not case.refused("1", "/a", 10)
        await case.clock.advance(9)
    assert case.closed == set()


async def test_a_time_that_is_over_counts_no_more() -> None:
    case = Case()
    case.refused("1", "/a", 10)
    await case.clock.advance(10)
    assert not case.refused("2", "/a", 10)
    assert not case.refused("2", "/a", 10)
    assert case.refused("3", "/a", 10)
    await case.aclose()


async def test_the_longest_time_of_a_scope_counts() -> None:
    case = Case()
    case.refused("1", "/a", 20)
    case.refused("2", "/a", 1)
    await case.clock.advance(5)
    assert case.gates.is_open
    assert case.refused("2", "/a", 1)
    await case.aclose()


@pytest.mark.parametrize(("first", "second"), [(503, 503), (503, 429), (429, 503), (403, 503)])
async def test_a_503_closes_no_more_than_its_path(first: int, second: int) -> None:
    case = Case()
    case.refused("1", "/a", status=first)
    assert not case.refused("2", "/b", status=second)
    assert case.closed == set()
    assert case.refused("3", "/b", status=503)
    assert case.closed == {B}
    await case.aclose()


async def test_a_403_and_a_429_have_the_route_in_common() -> None:
    case = Case()
    case.refused("1", "/a", status=403)
    assert case.refused("2", "/b", status=429)
    assert case.closed == {ROUTE}
    await case.aclose()


async def test_what_states_no_time_closes_nothing() -> None:
    case = Case()
    for number in range(10):
        assert not case.refused(str(number), "/a", 0.3, stated=False)
    assert case.gates.is_open


async def test_a_request_waits_at_both_gates() -> None:
    case = Case()
    for number in "12":
        case.refused(number, "/a", 5)
    case.refused("3", "/b", 8)
    assert case.closed == {A, ROUTE}
    assert await case.waits("/a")
    await case.clock.advance(6)
    assert not case.tasks[0].done()
    await case.clock.advance(3)
    assert case.tasks[0].result() == pytest.approx(8)
    assert case.gates.is_open


async def test_one_that_has_left_a_gate_waits_again_if_that_has_closed_meanwhile() -> None:
    case = Case()
    case.refused("1", "/a", 5)
    case.refused("2", "/a", 5)
    case.refused("3", "/b", 8)
    assert await case.waits("/a")
    await case.clock.advance(7)
    for number in "45":
        case.refused(number, "/a", 9, status=503)
    await case.clock.advance(8.5)
    assert not case.tasks[0].done()
    await case.clock.advance(1)
    assert case.tasks[0].result() == pytest.approx(16)


async def test_in_a_queue_that_leaves_for_longer_than_its_patience_a_request_is_refused() -> None:
    case = Case()
    for number in "12":
        case.refused(number, "/a", 20)
    with pytest.raises(Throttled) as caught:
        await case.gates.enter("GET", b"/a", 10.0)
    assert caught.value.retry_after == 20
    await case.aclose()


# -- longer than max_wait --------------------------------------------------------------------------------


async def test_a_time_longer_than_max_wait_closes_nothing() -> None:
    case = Case()
    for number in range(5):
        assert not case.refused(str(number), "/a", 3600)
    assert (case.closed, case.shared, case.gates.remaining()) == (set(), [], 0.0)


async def test_from_the_second_one_on_requests_of_that_scope_pass_one_at_a_time() -> None:
    case = Case()
    case.refused("1", "/a", 3600)
    assert case.gates.is_open
    case.refused("2", "/a", 3600)
    assert case.queues == {A}
    _, first = await case.gates.enter("GET", b"/a", MAX_WAIT)
    assert await case.waits("/a")
    assert not await case.waits("/b")
    await case.clock.advance(29.9)
    first.end(refused=True)
    await settle()
    assert case.tasks[0].result() == pytest.approx(29.9)
    assert case.queues == {A}
    await case.aclose()


async def test_until_one_is_not_refused_and_then_it_takes_two_again() -> None:
    case = Case()
    case.refused("1", "/a", 3600)
    case.refused("2", "/a", 3600)
    _, first = await case.gates.enter("GET", b"/a", MAX_WAIT)
    first.end(refused=False)
    assert case.gates.is_open
    case.refused("3", "/a", 3600)
    assert case.gates.is_open
    case.refused("4", "/a", 3600)
    assert case.queues == {A}
    await case.aclose()


async def test_of_different_paths_it_is_the_route_unless_it_is_a_503() -> None:
    case = Case()
    case.refused("1", "/a", 3600, status=503)
    case.refused("2", "/b", 3600)
    assert case.queues == set()
    case.refused("3", "/c", 3600)
    assert case.queues == {ROUTE}
    _, turn = await case.gates.enter("GET", b"/d", MAX_WAIT)
    assert await case.waits("/e")
    turn.end(refused=False)
    assert case.gates.is_open
    case.refused("4", "/b", 3600)
    assert case.queues == set()
    await case.aclose()


async def test_it_ends_with_the_time_that_the_api_said() -> None:
    case = Case()
    case.refused("1", "/a", 60)
    case.refused("2", "/a", 60)
    await case.clock.advance(60.1)
    assert case.gates.is_open


async def test_a_short_time_is_none_of_them() -> None:
    case = Case()
    case.refused("1", "/a", 3600)
    case.refused("2", "/a", 5)
    case.refused("3", "/b", 3600, status=503)
    assert (case.closed, case.queues) == (set(), set())


# -- other modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"stated": False}, {"status": 503}, {"seconds": 3600}])
async def test_in_mode_route_the_first_refusal_closes_the_route(options: dict[str, Any]) -> None:
    case = Case("route")
    seconds = options.pop("seconds", 10.0)
    assert case.refused("1", "/a", seconds, **options)
    assert (case.closed, case.shared) == ({ROUTE}, [(ROUTE, seconds)])
    await case.aclose()


async def test_in_mode_off_nothing_closes() -> None:
    case = Case("off")
    for number in range(5):
        assert not case.refused(str(number), "/a")
        case.refused(str(number), "/b", 3600)
    case.gates.hold(ROUTE, 5)
    case.gates.hold(A, 5)
    assert case.gates.is_open


# -- other processes -------------------------------------------------------------------------------------


async def test_what_another_process_has_closed_is_closed_here_and_not_shared_again() -> None:
    case = Case()
    case.gates.hold(A, 5)
    assert (case.closed, case.shared) == ({A}, [])
    case.gates.hold(ROUTE, 5)
    assert case.closed == {A, ROUTE}
    case.gates.hold(B, 31)
    assert B not in case.closed
    await case.aclose()


# -- bounds ----------------------------------------------------------------------------------------------


def test_a_million_paths_are_not_remembered() -> None:
    refusals = Refusals()
    for number in range(20_000):
        refusal = Refusal(str(number), f"{number}", 1000, is_stated=True, is_wide=False)
        assert refusals.add(refusal, 0.0) is None
    assert len(refusals) == MOST
    last = Refusal("another", "19999", 1000, is_stated=True, is_wide=False)
    assert refusals.add(last, 999.0) == "19999"
    assert refusals.add(last._replace(scope="new"), 1000.0) is None
    assert len(refusals) == 2


def test_no_refusal_lasts_for_ever() -> None:
    refusals = Refusals()
    refusal = Refusal("1", A, 1e20, is_stated=True, is_wide=True)
    refusals.add(refusal, 0.0)
    assert refusals.add(refusal._replace(request="2"), LONGEST) is None


async def test_nor_do_they_have_gates() -> None:
    case = Case()
    for number in range(MOST + 50):
        path = f"/{number}"
        case.refused("1", path, status=503)
        assert case.refused("2", path, status=503) is (number < MOST)
        case.refused("1", path, 3600, status=503)
        case.refused("2", path, 3600, status=503)
    assert (len(case.closed), len(case.queues)) == (MOST, MOST)
    assert case.refused("3", f"/{MOST + 1}") is False
    assert case.refused("4", "/x") is True  # the route's gate is one more
    await case.clock.advance(10.1)
    assert case.closed == set()
    await case.clock.advance(3600)
    assert case.gates.is_open


async def test_at_the_end_those_who_wait_are_refused() -> None:
    case = Case()
    for path, seconds in (("/a", 10), ("/b", 3600)):
        for number in "12":
            case.refused(number, path, seconds, status=503)
    _, turn = await case.gates.enter("GET", b"/b", MAX_WAIT)
    assert await case.waits("/a")
    assert await case.waits("/b")
    await case.gates.aclose()
    for task in case.tasks:
        with pytest.raises(ShuttingDown):
            await task
    turn.end(refused=False)
    assert case.gates.is_open
