"""What an API gets of repetitions under load, and what clients see of its failures, in hours that take no time.

The loop's time jumps to the next thing that is to happen, so that the order of all things is a function of the seed.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import selectors
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import httpx
import pytest

from proxy.clock import Clock
from proxy.credentials import Scheme
from proxy.errors import ConnectionRefused, ProxyError, UpstreamError
from proxy.gateway import Story
from proxy.gateway.exchange import Exchange
from proxy.gateway.retry import FREE, WINDOW, RetrySettings
from proxy.gateway.throttle import FASTEST, SLOWEST
from proxy.gateway.upstream import Draft, Upstream
from tests.doubles import Script, answer

URL = httpx.URL("https://api.test/")
LATENCY = 0.02  # seconds that the API takes


class Hurry(selectors.DefaultSelector):
    """Waits for nothing; `now` is when it would be."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is its selector's."""

    def __init__(self) -> None:
        self._hurry = Hurry()
        super().__init__(self._hurry)

    def time(self) -> float:
        return self._hurry.now


class LoopClock(Clock):
    """The loop's time."""

    def time(self) -> float:
        return asyncio.get_running_loop().time() + 1.8e9

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(scenario)


Say = Callable[[], httpx.Response | UpstreamError]


class Api(httpx.AsyncBaseTransport):
    """An API that says what `say` says; `times` is when it was asked."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.times: list[float] = []
        self.at_work = self.most_at_work = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.times.append(asyncio.get_running_loop().time())
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await asyncio.sleep(LATENCY)
        self.at_work -= 1
        said = self.say()
        if isinstance(said, UpstreamError):
            raise said
        return said


class Town:
    """Clients of one route.

    Attributes:
        asked: when they asked.
        seen: the statuses that they saw.
        paths: of how many paths they choose one.

    """

    def __init__(self, say: Say, seed: int = 1, paths: int = 1, **retry: Any) -> None:
        self.api = Api(say)
        self.paths = paths
        self.random = Random(seed)
        self.asked: list[float] = []
        self.seen: list[int] = []
        self.exchange = Exchange(
            Upstream(URL, self.api, Script()),
            Scheme(),
            RetrySettings(**retry),
            clock=LoopClock(),
            random=self.random,
        )

    async def ask(self) -> None:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        target = b"/%d" % self.random.randrange(self.paths) if self.paths > 1 else b"/"
        try:
            response = await self.exchange(Draft("GET", target, []), Story("GET", "/", now))
            await response.aclose()
            self.seen.append(response.status_code)
        except ProxyError as failure:
            self.seen.append(failure.status)

    async def live(self, clients: int, seconds: float, pause: float) -> None:
        """Ask for so long, with pauses of `pause` seconds on average."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds

        async def client() -> None:
            await asyncio.sleep(self.random.uniform(0, 2 * pause))
            while loop.time() < end:
                await self.ask()
                await asyncio.sleep(self.random.uniform(0, 2 * pause))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(client())

    @property
    def share(self) -> float:
        """Requests that reached the API, of those that clients made."""
        return len(self.api.times) / len(self.asked)


def unavailable() -> httpx.Response:
    return answer(503)


def refused() -> UpstreamError:
    return ConnectionRefused()


# -- an API that is down ---------------------------------------------------------------------------------


@pytest.mark.parametrize("say", [unavailable, refused])
@pytest.mark.parametrize(("clients", "pause"), [(5, 0.0), (100, 2.0)])
def test_an_api_that_is_down_gets_a_quarter_more_at_most(say: Say, clients: int, pause: float) -> None:
    async def scenario() -> None:
        town = Town(say)
        await town.live(clients, 60, pause)
        assert len(town.asked) > 1000
        assert set(town.seen) <= {503, 502}
        assert 1.15 < town.share <= 1.21

    run(scenario())


@pytest.mark.parametrize("requests", [1, 3, 10, 40, 50, 200])
def test_few_requests_have_ten_repetitions_free_many_have_a_fifth(requests: int) -> None:
    async def scenario() -> None:
        town = Town(unavailable, backoff=0.1)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(requests):
                tasks.create_task(town.ask())
        wanted = 3 * requests  # each as often as `attempts` has it
        assert len(town.api.times) - requests == min(wanted, max(FREE, math.ceil(0.2 * requests)))
        assert requests < 40 or town.share <= 1.25

    run(scenario())


def test_in_no_ten_seconds_are_there_more_than_that() -> None:
    async def scenario() -> None:
        town = Town(unavailable)
        for clients, pause in ((100, 0.5), (2, 1.0), (40, 0.1), (0, 0.0)):
            await town.live(clients, 15, pause)
        for start in range(70):
            sent = sum(start <= time < start + WINDOW for time in town.api.times)
            # What was asked before may be asked again within.
            asked = sum(start - WINDOW <= time < start + WINDOW for time in town.asked)
            assert sent <= asked + max(FREE, math.ceil(0.2 * asked))
        assert town.share <= 1.25

    run(scenario())


def test_each_route_has_a_budget_of_its_own() -> None:
    async def scenario() -> None:
        towns = [Town(unavailable, seed) for seed in range(3)]
        healthy = Town(lambda: answer(200))
        async with asyncio.TaskGroup() as tasks:
            for town in (*towns, healthy):
                tasks.create_task(town.live(20, 30, 0.5))
        assert all(town.share <= 1.25 for town in towns)
        assert (healthy.share, set(healthy.seen)) == (1.0, {200})

    run(scenario())


def pauses(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_one_that_says_when_is_asked_no_earlier_and_then_by_one() -> None:
    async def scenario() -> None:
        town = Town(lambda: answer(503, [(b"Retry-After", b"2")]), gate="route")
        await town.live(50, 60, 1.0)
        assert set(town.seen) == {503, 429}
        assert min(pauses(town.api.times)) >= 2
        assert town.share < 0.5

    run(scenario())


def test_in_auto_it_is_asked_by_two_before_the_others_wait() -> None:
    async def scenario() -> None:
        town = Town(lambda: answer(503, [(b"Retry-After", b"2")]))
        await town.live(50, 60, 1.0)
        assert set(town.seen) == {503, 429}
        later = [time for time in town.api.times if time >= 2]
        assert all(sum(start <= time < start + 2 for time in later) <= 4 for start in later)
        assert town.share < 1

    run(scenario())


# -- an API that has a limit -----------------------------------------------------------------------------


class Limit:
    """Serves so many requests in each window of so many seconds, and says how long the others have to wait."""

    def __init__(self, requests: int, window: float) -> None:
        self._most = requests
        self._window = window
        self._begin = 0.0
        self._used = 0
        self.refused = 0

    def __call__(self) -> httpx.Response:
        now = asyncio.get_running_loop().time()
        begin = now // self._window * self._window
        if begin != self._begin:
            self._begin, self._used = begin, 0
        self._used += 1
        if self._used <= self._most:
            return answer(200)
        self.refused += 1
        return answer(429, [(b"Retry-After", b"%d" % math.ceil(begin + self._window - now))])


def refusals(gate: str, clients: int, requests: int, paths: int) -> float:
    """How often an API refuses a request in a window of 10 s."""
    limit = Limit(requests, 10)

    async def scenario() -> None:
        town = Town(limit, paths=paths, gate=gate)
        await town.live(clients, 200, 0.1)
        assert town.seen.count(200) >= 0.95 * 20 * requests  # what it serves at most
        await town.exchange.aclose()

    run(scenario())
    return limit.refused / 20


@pytest.mark.parametrize(("clients", "requests", "paths"), [(100, 50, 1), (100, 50, 1000), (200, 10, 1)])
def test_a_limit_is_hardly_run_against_in_auto(clients: int, requests: int, paths: int) -> None:
    route, auto, off = (refusals(gate, clients, requests, paths) for gate in ("route", "auto", "off"))
    assert route <= 4
    assert auto <= 6
    assert auto < off / 10


def test_one_that_refuses_for_long_is_asked_by_one_at_a_time() -> None:
    async def scenario() -> None:
        limit = Limit(20, 1000)
        town = Town(limit)
        await town.live(1, 5, 0.1)
        await town.live(50, 5, 0.1)
        town.api.most_at_work = 0
        await town.live(50, 60, 0.1)
        assert town.api.most_at_work == 1
        assert town.seen.count(200) == 20
        assert set(town.seen) == {200, 429}
        await asyncio.sleep(1000)
        assert town.exchange.gates.is_open
        limit.refused = 0
        await town.live(10, 1, 1.0)
        assert limit.refused == 0

    run(scenario())


def test_a_resource_that_is_refused_without_a_time_delays_no_other_request() -> None:
    async def scenario() -> None:
        refusing, serving = Town(lambda: answer(429)), Town(lambda: answer(200))
        serving.exchange.gates = refusing.exchange.gates
        begin = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(refusing.live(20, 30, 0.1))
            tasks.create_task(serving.live(1, 30, 0.0))
        assert set(refusing.seen) == {429}
        assert serving.seen == [200] * len(serving.seen)
        assert len(serving.seen) >= (asyncio.get_running_loop().time() - begin - 10) / LATENCY

    run(scenario())


# -- an API that fails now and then ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("clients", "pause"), [(1, 0.0), (100, 2.0)])
def test_one_failure_in_ten_is_hardly_ever_seen(seed: int, clients: int, pause: float) -> None:
    async def scenario() -> None:
        random = Random(seed)
        town = Town(lambda: answer(503 if random.random() < 0.1 else 200), seed)
        await town.live(clients, 60, pause)
        assert town.seen.count(200) >= 0.99 * len(town.asked)
        assert town.share <= 1.25

    run(scenario())


# -- all at once -----------------------------------------------------------------------------------------


def test_what_failed_at_once_does_not_come_back_at_once() -> None:
    async def scenario() -> None:
        town = Town(unavailable, attempts=2, budget=1.0)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(400):
                tasks.create_task(town.ask())
        again = sorted(time - LATENCY for time in town.api.times[400:])
        # Kolmogorov and Smirnov: as evenly over the half second as chance has it (1 %).
        off = max(abs(time / 0.5 - place / 400) for place, time in enumerate(again))
        assert off < 1.63 / math.sqrt(400)

    run(scenario())


def test_who_waited_at_a_429_does_not_come_back_at_once() -> None:
    async def scenario() -> None:
        town = Town(
            lambda: answer(200) if town.api.times[-1] >= 5 else answer(429, [(b"Retry-After", b"5")]), gate="route"
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(town.ask())
            await asyncio.sleep(1)
            for _ in range(300):
                tasks.create_task(town.ask())
        assert town.seen == [200] * 301
        again = town.api.times[1:]
        assert again[0] >= 5
        assert pauses(again)[0] == pytest.approx(SLOWEST)
        assert min(pauses(again)) == pytest.approx(FASTEST)
        assert again[-1] < 9

    run(scenario())
