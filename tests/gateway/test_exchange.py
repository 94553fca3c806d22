"""What repeats a request, and what does not: the table of DESIGN section 3, row by row."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from proxy.credentials import Scheme
from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    CredentialError,
    DnsError,
    ReadTimeout,
    ResponseIncomplete,
    SecretError,
    Throttled,
    TlsCertificateError,
    TlsProtocolError,
    TokenEndpointDown,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
    WrongProtocol,
)
from proxy.gateway import Story
from proxy.gateway.body import NO_BODY, Body, LimitSettings
from proxy.gateway.exchange import Exchange
from proxy.gateway.gates import ROUTE
from proxy.gateway.retry import RetrySettings
from proxy.gateway.throttle import SLOWEST
from proxy.gateway.upstream import Draft, Upstream
from tests.doubles import FakeClock, HurriedClock, Pieces, Script, answer, settle

URL = httpx.URL("https://api.test/base")


class Renewing(Scheme):
    """Sends ``token N``; a 401 makes N grow, or fails as told."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.token = 1
        self.failure = failure

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"token {self.token}"
        response = yield request
        if response.status_code == 401:
            if self.failure:
                raise self.failure
            self.token += 1
            request.headers["Authorization"] = f"token {self.token}"
            request.extensions["notes"] = ["renewed token"]
            yield request


class Counting(Scheme):
    """Signs each request with another number."""

    def __init__(self) -> None:
        self.signed = 0

    async def apply(self, request: httpx.Request) -> None:
        self.signed += 1
        request.headers["X-Signature"] = str(self.signed)


class Held(Script):
    """A script whose answers wait for `delay`, if there is one."""

    delay: asyncio.Event | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if self.delay is not None:
            await self.delay.wait()
        return response


class Case:
    """An exchange over a script."""

    def __init__(
        self, *steps: Any, auth: httpx.Auth | None = None, clock: FakeClock | None = None, **retry: Any
    ) -> None:
        self.script = Held(*steps)
        self.elsewhere = Script()
        self.clock = clock or HurriedClock()
        self.story = Story("GET", "/", 0.0)
        self.exchange = Exchange(
            Upstream(URL, self.script, self.elsewhere),
            auth or Scheme(),
            RetrySettings(**retry),
            clock=self.clock,
            random=Random(7),
        )

    async def send(self, method: str = "GET", **draft: Any) -> httpx.Response:
        return await self.exchange(Draft(method, b"/base/x", [(b"Host", b"api.test")], **draft), self.story)

    @property
    def sent(self) -> int:
        return len(self.script.requests)

    def header(self, name: str) -> list[str | None]:
        return [request.headers.get(name) for request in self.script.requests]


class Cut(Pieces):
    """Breaks off."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"slow"
        raise ResponseIncomplete(sent=True, begun=True)


def body_of(*pieces: bytes, **limits: Any) -> Body:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Body(source, LimitSettings(**limits))


# -- 401 -------------------------------------------------------------------------------------------------


async def test_a_401_renews_and_replays_any_method_with_its_body() -> None:
    case = Case(401, 200, auth=Renewing())
    response = await case.send("POST", body=body_of(b"ab", b"c"))
    assert response.status_code == 200
    assert case.script.bodies == [b"abc", b"abc"]
    assert case.header("authorization") == ["token 1", "token 2"]
    assert (case.story.attempts, case.story.replays, case.story.notes) == (1, 1, ("renewed token",))
    assert case.story.outcomes == ("4xx", "2xx")


async def test_a_second_401_is_handed_on_as_it_came() -> None:
    last = answer(401, [(b"X-Last", b"1")], b"no")
    case = Case(401, last, auth=Renewing())
    assert await case.send() is last
    assert case.sent == 2


async def test_a_static_credential_gets_no_second_try() -> None:
    case = Case(401, auth=Counting())
    assert (await case.send()).status_code == 401
    assert case.sent == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (CredentialError("refused"), "proxy_configuration_error"),
        (TokenEndpointDown("down"), "destination_unavailable"),
        (RuntimeError("a stranger's secret"), "proxy_configuration_error"),
    ],
)
async def test_a_failing_renewal_hands_the_401_on_and_is_told(failure: Exception, error: str) -> None:
    first = answer(401, [], b"as it came")
    case = Case(first, auth=Renewing(failure))
    assert await case.send() is first
    assert b"".join([piece async for piece in first.stream]) == b"as it came"  # type: ignore[union-attr]
    assert case.story.error == error
    assert case.story.failure.startswith("renewal failed")
    assert "secret" not in case.story.failure


async def test_a_body_that_was_not_kept_is_not_replayed() -> None:
    case = Case(401, auth=Renewing())
    response = await case.send("PUT", body=body_of(b"x" * 100, replay_memory=10, replay_disk=10))
    assert (response.status_code, case.sent) == (401, 1)


async def test_a_refused_answer_is_closed_before_the_replay() -> None:
    first = answer(401, [], b"small")
    case = Case(first, 200, auth=Renewing())
    await case.send()
    assert isinstance(first.stream, object)
    assert case.sent == 2


@pytest.mark.parametrize(
    ("raised", "expected", "shown"),
    [
        (SecretError("the environment variable X is not set"), CredentialError, "variable X"),
        (CredentialError("login needed"), CredentialError, "login needed"),
        (TokenEndpointDown("down", retry_after=3), TokenEndpointDown, "down"),
        (ValueError("s3cret"), CredentialError, "ValueError"),
    ],
)
async def test_a_credential_that_cant_be_had_sends_nothing(
    raised: Exception, expected: type[Exception], shown: str
) -> None:
    class Broken(Scheme):
        async def apply(self, request: httpx.Request) -> None:
            raise raised

    case = Case(auth=Broken())
    with pytest.raises(expected, match=shown) as caught:
        await case.send()
    assert "s3cret" not in str(caught.value)
    assert case.sent == 0


async def test_a_request_to_another_origin_goes_out_over_the_plain_client() -> None:
    class Login(Scheme):
        async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
            token = yield httpx.Request("POST", "https://login.test/token")
            request.headers["Authorization"] = f"token {token.status_code}"
            yield request

    case = Case(200, auth=Login())
    assert (await case.send()).status_code == 200
    assert [str(request.url) for request in case.elsewhere.requests] == ["https://login.test/token"]
    assert case.header("authorization") == ["token 200"]
    assert case.story.replays == 1


async def test_a_bare_request_goes_without_the_credential() -> None:
    case = Case(200, auth=Counting())
    await case.send(bare=True)
    assert case.header("x-signature") == [None]


# -- retry.statuses --------------------------------------------------------------------------------------


async def test_a_503_is_repeated_with_growing_pauses_and_signed_anew() -> None:
    case = Case(503, 502, 504, 200, auth=Counting())
    assert (await case.send()).status_code == 200
    assert case.header("x-signature") == ["1", "2", "3", "4"]
    assert case.story.attempts == 4
    assert len(case.clock.slept) == 3
    assert all(pause <= bound for pause, bound in zip(case.clock.slept, (0.5, 1, 2), strict=True))
    assert case.story.waited == pytest.approx(sum(case.clock.slept))


async def test_over_the_attempts_the_last_answer_is_handed_on() -> None:
    last = answer(503, [], b"last")
    case = Case(503, last, attempts=2)
    assert await case.send() is last


async def test_one_attempt_means_no_repetition() -> None:
    case = Case(503, attempts=1)
    assert (await case.send()).status_code == 503
    assert case.sent == 1


@pytest.mark.parametrize("status", [400, 404, 500, 501])
async def test_other_statuses_are_the_apis_own(status: int) -> None:
    case = Case(status)
    assert (await case.send()).status_code == status
    assert case.sent == 1


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_the_failure_of_another_countersign_is_handed_on_for_it_has_repeated_already(status: int) -> None:
    told = b"countersign; error=connection_limit_reached; details=x"
    case = Case(answer(status, [(b"Proxy-Status", told), (b"Retry-After", b"1")]))
    assert (await case.send()).status_code == status
    assert case.sent == 1
    assert case.exchange.gates.is_open


async def test_a_post_is_not_repeated_unless_it_has_an_idempotency_key() -> None:
    case = Case(503)
    assert (await case.send("POST")).status_code == 503
    assert case.sent == 1
    case = Case(503, 200)
    assert (await case.send("POST", idempotency_key=True)).status_code == 200


async def test_waiting_ends_with_max_wait() -> None:
    case = Case(503, 503, 503, 503, backoff=10, max_wait=0.01)
    assert (await case.send()).status_code == 503
    assert case.sent == 1


async def test_the_budget_ends_repetitions_when_the_api_is_down() -> None:
    case = Case(*[503] * 1000, attempts=4, backoff=0, budget=0.2)
    for _ in range(100):
        case.story = Story("GET", "/", 0.0)
        assert (await case.send()).status_code == 503
    assert 100 + 10 <= case.sent <= 125


# -- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [ConnectionRefused(), DnsError(), TlsProtocolError()])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_nothing_was_sent_any_method_is_repeated(failure: UpstreamError, method: str) -> None:
    case = Case(failure, 200)
    assert (await case.send(method)).status_code == 200
    assert case.story.outcomes == (failure.error, "2xx")


@pytest.mark.parametrize(
    ("failure", "method", "sent"),
    [
        (ConnectionTerminated(sent=True), "GET", 2),
        (ConnectionTerminated(sent=True), "POST", 1),
        (ReadTimeout(sent=True), "GET", 1),
        (ReadTimeout(sent=True), "PATCH", 1),
        (WriteTimeout(sent=True), "DELETE", 2),
        (ResponseIncomplete(sent=True, begun=True), "GET", 2),
        (UpstreamProtocolError(sent=True, begun=True), "GET", 1),
        (TlsCertificateError(), "GET", 1),
        (WrongProtocol(), "GET", 1),
    ],
)
async def test_what_may_have_been_executed_is_repeated_only_if_the_method_allows(
    failure: UpstreamError, method: str, sent: int
) -> None:
    case = Case(failure, 200)
    if sent == 2:
        assert (await case.send(method)).status_code == 200
    else:
        with pytest.raises(type(failure)):
            await case.send(method)
    assert case.sent == sent


async def test_the_last_failure_is_raised() -> None:
    case = Case(ConnectionRefused(), DnsError(), attempts=2)
    with pytest.raises(DnsError):
        await case.send()


async def test_a_kept_alive_connection_that_was_closed_is_replaced_at_once_uncounted_and_signed_anew() -> None:
    stale = ConnectionTerminated(sent=True, reused=True)
    case = Case(stale, stale, 200, auth=Counting(), attempts=1)
    assert (await case.send()).status_code == 200
    assert (case.story.attempts, case.clock.slept) == (1, [])
    assert case.header("x-signature") == ["1", "2", "3"]


async def test_a_post_is_replaced_only_if_nothing_of_it_was_sent() -> None:
    case = Case(ConnectionTerminated(sent=False, reused=True), 200, attempts=1)
    assert (await case.send("POST", body=body_of(b"x"))).status_code == 200
    assert case.script.bodies == [b"x", b"x"]
    case = Case(ConnectionTerminated(sent=True, reused=True), 200)
    with pytest.raises(ConnectionTerminated):
        await case.send("POST")
    assert case.sent == 1


@pytest.mark.parametrize("kind", [ReadTimeout, WriteTimeout])
async def test_a_kept_alive_connection_that_is_silent_was_not_closed_and_counts(kind: type[UpstreamError]) -> None:
    case = Case(*[kind(sent=True, reused=True)] * 50, attempts=2, read_timeout=True)
    with pytest.raises(kind):
        await case.send()
    assert case.sent == 2


async def test_replacing_has_an_end() -> None:
    stale = ConnectionTerminated(sent=True, reused=True)
    case = Case(*[stale] * 50, attempts=1)
    with pytest.raises(ConnectionTerminated):
        await case.send()
    assert case.sent == 6


# -- 429 -------------------------------------------------------------------------------------------------


def limited(status: int = 429, **headers: str) -> httpx.Response:
    return answer(
        status, [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()], b"slow"
    )


async def test_a_429_waits_as_told_with_any_method() -> None:
    case = Case(limited(Retry_After="3"), 200)
    assert (await case.send("POST", body=body_of(b"x"))).status_code == 200
    assert case.story.waited == pytest.approx(3, abs=0.2)
    assert case.story.attempts == 2
    assert case.script.bodies == [b"x", b"x"]


@pytest.mark.parametrize(
    ("response", "method", "sent"),
    [
        (limited(503, Retry_After="1"), "GET", 2),
        (limited(503, Retry_After="1"), "POST", 1),
        (limited(403, Retry_After="1"), "GET", 2),
        (limited(403, X_RateLimit_Remaining="0", X_RateLimit_Reset="1"), "GET", 2),
        (limited(403, X_RateLimit_Remaining="0", X_RateLimit_Reset="1"), "POST", 1),
        (limited(403), "GET", 1),
        (limited(429), "POST", 2),
        (limited(429, Retry_After="31"), "GET", 1),
        (limited(429, Retry_After="99999999999999999999"), "GET", 1),
    ],
)
async def test_who_waits(response: httpx.Response, method: str, sent: int) -> None:
    case = Case(response, 200)
    status = (await case.send(method)).status_code
    assert case.sent == sent
    assert status == (200 if sent == 2 else response.status_code)
    await case.exchange.aclose()


async def test_over_the_attempts_a_429_is_handed_on_untouched() -> None:
    last = limited(Retry_After="1")
    case = Case(limited(Retry_After="1"), last, attempts=2)
    response = await case.send()
    assert response is last
    assert response.headers["retry-after"] == "1"
    assert b"".join([piece async for piece in response.stream]) == b"slow"  # type: ignore[union-attr]
    await case.exchange.aclose()


async def test_while_the_gate_is_closed_the_others_wait_too() -> None:
    case = Case(limited(Retry_After="5"), *[200] * 5, clock=FakeClock(), gate="route")
    first = asyncio.create_task(case.send())
    await settle()
    others = [asyncio.create_task(case.send()) for _ in range(4)]
    await settle()
    assert case.sent == 1
    await case.clock.advance(4.9)
    assert case.sent == 1
    await case.clock.advance(0.1)
    assert case.sent == 2  # the one that was refused goes first, and alone
    await case.clock.advance(2)
    assert {response.status_code for response in await asyncio.gather(first, *others)} == {200}
    assert case.sent == 6


async def test_who_cant_wait_so_long_gets_a_429_of_our_own() -> None:
    case = Case(limited(Retry_After="60"), gate="route")
    assert (await case.send()).status_code == 429
    with pytest.raises(Throttled) as caught:
        await case.send()
    assert caught.value.retry_after == 60
    assert case.sent == 1
    await case.exchange.aclose()


async def test_a_waiter_whose_gate_is_closed_for_longer_gets_the_429_that_it_had() -> None:
    case = Case(limited(Retry_After="2"), clock=FakeClock(), gate="route")
    waiting = asyncio.create_task(case.send())
    await settle()
    case.exchange.gates.hold(ROUTE, 100)
    response = await waiting
    assert response.status_code == 429
    assert b"".join([piece async for piece in response.stream]) == b"slow"  # type: ignore[union-attr]
    await case.exchange.aclose()


# -- going away ------------------------------------------------------------------------------------------


async def test_one_whose_429_broke_off_is_told_in_our_own_words() -> None:
    clock = FakeClock()
    cut = httpx.Response(429, headers={"Retry-After": "5"}, stream=Cut())
    case = Case(cut, clock=clock, max_wait=30, gate="route")
    waiting = asyncio.create_task(case.send())
    await settle()
    case.exchange.gates.hold(ROUTE, 60)
    with pytest.raises(Throttled):
        await waiting
    await case.exchange.aclose()


async def test_a_client_that_leaves_while_the_flow_renews_closes_the_answer() -> None:
    class Slow(Scheme):
        async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
            yield request
            await asyncio.Event().wait()

    stream = Pieces(b"x")
    case = Case(httpx.Response(401, stream=stream), auth=Slow())
    sending = asyncio.create_task(case.send())
    await settle()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert stream.closed


async def test_a_request_without_a_body_sends_none() -> None:
    case = Case(200)
    await case.send(body=NO_BODY)
    assert case.script.bodies == [b""]


@pytest.mark.parametrize("gate", ["auto", "route", "off"])
async def test_a_client_that_leaves_while_it_waits_closes_the_answer_it_had(gate: str) -> None:
    class Endless(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

    stream = Endless()
    case = Case(httpx.Response(429, headers={"Retry-After": "5"}, stream=stream), clock=FakeClock(), gate=gate)
    sending = asyncio.create_task(case.send())
    await settle()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert stream.closed
    await case.exchange.aclose()


async def test_told_to_wait_no_time_they_still_leave_one_by_one() -> None:
    case = Case(limited(Retry_After="0"), *[200] * 4, clock=FakeClock(), gate="route")
    sending = [asyncio.create_task(case.send()) for _ in range(4)]
    await settle(100)
    assert case.sent == 1
    await case.clock.advance(SLOWEST)
    assert case.sent == 2  # the refused one again
    await case.clock.advance(1)
    assert {response.status_code for response in await asyncio.gather(*sending)} == {200}


async def test_what_another_origin_answered_is_never_handed_to_the_client() -> None:
    class GivesUp(Scheme):
        async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
            yield httpx.Request("POST", "https://login.test/token")

    case = Case(auth=GivesUp())
    stream = Pieces(b"the s3cret token")
    case.elsewhere.steps = [httpx.Response(200, stream=stream)]
    with pytest.raises(CredentialError):
        await case.send()
    assert stream.closed


# -- which requests wait because others were refused -----------------------------------------------------


async def start(case: Case, path: bytes = b"/x", method: str = "GET") -> asyncio.Task[httpx.Response]:
    """Begin a request of its own story."""
    draft = Draft(method, path, [])
    task = asyncio.create_task(case.exchange(draft, Story(method, path.decode(), case.clock.monotonic())))
    await settle()
    return task


async def test_a_first_refusal_holds_its_own_request_only() -> None:
    case = Case(limited(Retry_After="5"), clock=FakeClock())
    first = await start(case)
    others = [await start(case, b"/x?y"), await start(case, b"/y"), await start(case, method="POST")]
    assert [task.done() for task in (first, *others)] == [False, True, True, True]
    await case.clock.advance(5)
    assert (await first).status_code == 200
    assert case.sent == 5


async def test_after_a_second_one_all_of_that_path_wait_and_leave_paced() -> None:
    case = Case(*[limited(Retry_After="5")] * 2, clock=FakeClock())
    tasks = [await start(case), await start(case, b"/x?2")]
    assert case.sent == 2
    tasks += [await start(case, b"/x?%d" % number) for number in range(3, 6)]
    assert case.sent == 2
    assert (await start(case, b"/y")).done()
    await case.clock.advance(4.9)
    assert case.sent == 3
    await case.clock.advance(0.1)
    assert case.sent == 4
    await case.clock.advance(2)
    assert {(await task).status_code for task in tasks} == {200}
    assert case.sent == 8


async def test_after_one_of_another_path_the_route_waits() -> None:
    case = Case(*[limited(403, X_RateLimit_Remaining="0", X_RateLimit_Reset="5")] * 2, clock=FakeClock())
    tasks = [await start(case, b"/search"), await start(case, b"/graphql")]
    tasks.append(await start(case, b"/user"))
    assert case.sent == 2
    await case.clock.advance(6)
    assert {(await task).status_code for task in tasks} == {200}


async def test_the_replay_of_a_request_is_no_second_one() -> None:
    case = Case(*[limited(Retry_After="5")] * 3, clock=FakeClock())
    first = await start(case)
    await case.clock.advance(5)
    assert case.sent == 2
    assert (await start(case)).done() is False  # the second request: refused, so that the gate closes
    assert case.sent == 3
    assert (await start(case)).done() is False
    assert case.sent == 3
    await case.clock.advance(6)
    assert (await first).status_code == 200


async def test_of_one_that_is_refused_for_ever_the_others_see_nothing() -> None:
    case = Case(limited(Retry_After="5"), clock=FakeClock())
    first = await start(case)
    for _ in range(3):
        await case.clock.advance(2.5)
        assert (await start(case, b"/other")).done()
        case.script.steps = [limited(Retry_After="5")]
        await case.clock.advance(2.5)
    assert (await first).status_code == 429


async def test_a_429_without_a_time_delays_its_own_request_only() -> None:
    case = Case(*[limited()] * 8, clock=FakeClock())
    refused = [await start(case), await start(case)]
    case.script.steps = []
    assert (await start(case)).done()
    assert case.exchange.gates.is_open
    await case.clock.advance(1)
    assert {(await task).status_code for task in refused} == {200}


async def test_times_longer_than_max_wait_are_handed_on_and_their_requests_pass_one_at_a_time() -> None:
    case = Case(*[limited(Retry_After="3600")] * 2, clock=FakeClock())
    case.script.delay = asyncio.Event()
    case.script.delay.set()
    assert [(await (await start(case))).status_code for _ in range(2)] == [429, 429]
    case.script.delay.clear()
    case.script.steps = [limited(Retry_After="3600")]
    waiting = [await start(case) for _ in range(5)]
    other = await start(case, b"/y")
    assert case.sent == 2 + 2
    case.script.delay.set()
    await case.clock.advance(1)
    assert [(await task).status_code for task in waiting] == [429, 200, 200, 200, 200]
    assert (await other).status_code == 200
    assert case.exchange.gates.is_open
    assert all(task.exception() is None for task in waiting)


async def test_one_that_fails_at_its_turn_passes_the_turn_on() -> None:
    case = Case(*[limited(Retry_After="3600")] * 2, clock=FakeClock())
    for _ in range(2):
        await (await start(case))
    case.script.steps = [TlsCertificateError(), 200]
    with pytest.raises(TlsCertificateError):
        await (await start(case))
    assert not case.exchange.gates.is_open
    assert (await (await start(case))).status_code == 200
    assert case.exchange.gates.is_open


async def test_with_the_gate_off_every_request_waits_for_itself() -> None:
    case = Case(*[limited(Retry_After="5")] * 3, clock=FakeClock(), gate="off")
    refused = [await start(case) for _ in range(3)]
    assert (await start(case)).done()
    await case.clock.advance(5)
    assert {(await task).status_code for task in refused} == {200}
    assert case.exchange.gates.is_open


async def test_the_age_of_a_request_is_what_has_passed_since_its_head() -> None:
    case = Case(clock=FakeClock())
    await case.clock.advance(7)
    assert case.exchange.age(Story("GET", "/", 2.0)) == pytest.approx(5)
