"""APIs that say "not now": what is waited for, what is tried again, and what is handed on."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from random import Random
from time import monotonic

import pytest

from proxy.gateway.throttle import SLOWEST
from tests.conftest import Start
from tests.doubles import START, FakeClock, HurriedClock
from tests.journeys.conftest import HEAD, Build, House
from tests.journeys.wires import OK, PATIENCE, Api, Step, answer, chunked, closing, resetting


def date(seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(START + seconds, UTC), usegmt=True)


TOGETHER = {"gate": "route"}


def throttled(*fields: str, status: int = 429) -> bytes:
    return answer(status, b"slow down", "X-Theirs: yes", *fields)


def post(*lines: str, body: bytes = b"hello") -> bytes:
    head = ["POST /x HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


# -- how long ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (["Retry-After: 2"], 2.0),
        (["Retry-After:   2  "], 2.0),
        (["Retry-After: 0"], 0.0),
        (["Retry-After: 2, 2"], 2.0),
        (["Retry-After: 2, 3.5"], 3.5),
        ([f"Retry-After: {date(3)}, {date(4)}"], 4.0),
        (["retry-after-ms: 1500"], 1.5),
        (["Retry-After: 2", "retry-after-ms: 1500"], 2.0),
        (['RateLimit: "default";r=0;t=3'], 3.0),
        (['RateLimit: "burst";r=0;t=2, "daily";r=900;t=80000'], 2.0),
        (["RateLimit: limit=10, remaining=0, reset=4"], 4.0),
        (["X-RateLimit-Reset-After: 0.5"], 0.5),
        (["X-RateLimit-Reset: " + datetime.fromtimestamp(START + 6, UTC).isoformat()], 6.0),
        (["X-RateLimit-Reset: " + datetime.fromtimestamp(START + 6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")], 6.0),
        (["Retry-After: 1.5"], 1.5),
        ([f"Retry-After: {date(3)}"], 3.0),
        ([f"Retry-After: {date(-100)}"], 0.0),
        (["Retry-After: 1", "Retry-After: 4"], 4.0),
        (["Retry-After: nonsense", "Retry-After: 4"], 4.0),
        (["Retry-After: 2", "X-RateLimit-Reset: 20"], 2.0),
        (["X-RateLimit-Reset: 5"], 5.0),
        ([f"X-RateLimit-Reset: {START + 6:.0f}"], 6.0),
        ([f"X-RateLimit-Reset: {(START + 7) * 1000:.0f}"], 7.0),
        (["RateLimit-Reset: 8"], 8.0),
        ([f"X-RateLimit-Reset: {START - 100:.0f}"], 0.0),
    ],
)
async def test_a_429_is_waited_out_as_told(build: Build, fields: list[str], seconds: float) -> None:
    clock = HurriedClock()
    house = await build(throttled(*fields), clock=clock)
    seen = await house.ask()
    assert (seen.status, seen.body) == (200, b"ok")
    assert seen.told.startswith(b'countersign; details="2 attempts; waited ')
    assert clock.slept[0] == pytest.approx(seconds or SLOWEST)
    assert len(house.api.messages) == 2


@pytest.mark.parametrize(
    "fields", [[], ["Retry-After: -5"], ["Retry-After: soon"], ["Retry-After:"], ["X-RateLimit-Reset: x"]]
)
async def test_a_429_that_does_not_say_how_long_is_backed_off_from(build: Build, fields: list[str]) -> None:
    clock = HurriedClock()
    house = await build(throttled(*fields), clock=clock, options={"random": Random(7)})
    seen = await house.ask()
    assert seen.status == 200
    assert 0 < clock.monotonic() <= 0.6


async def test_a_429_that_breaks_off_is_waited_out_all_the_same(build: Build) -> None:
    cut = closing(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nContent-Length: 100\r\n\r\nslow")
    house = await build(cut, clock=HurriedClock(), options={"random": Random(7)})
    seen = await house.ask(post(), "POST")
    assert (seen.status, seen.body) == (200, b"ok")


@pytest.mark.parametrize("value", ["31", "99999999999999999999", "100000", date(10_000)])
async def test_longer_than_max_wait_is_handed_on_untouched(build: Build, value: str) -> None:
    clock = FakeClock()
    house = await build(throttled(f"Retry-After: {value}"), clock=clock, retry=TOGETHER)
    seen = await house.ask()
    assert (seen.status, seen.body, seen.get("X-Theirs")) == (429, b"slow down", b"yes")
    assert (seen.get("Retry-After"), seen.told) == (value.encode(), b"")
    own = await house.ask()
    assert (own.status, own.error) == (429, "http_request_denied")
    assert int(own.get("Retry-After") or b"0") > 30
    assert len(house.api.messages) == 1


async def test_a_gate_opens_when_its_time_is_over(build: Build) -> None:
    clock = FakeClock()
    house = await build(throttled("Retry-After: 50"), clock=clock, retry=TOGETHER)
    assert (await house.ask()).status == 429
    await clock.advance(15)
    own = await house.ask()
    assert (own.status, own.get("Retry-After")) == (429, b"35")
    await clock.advance(10)
    waiting = asyncio.create_task(house.ask())  # 25 s are within its patience
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 3)
    await asyncio.sleep(0.02)
    assert len(house.api.messages) == 1
    await clock.advance(25)
    assert (await waiting).status == 200


async def test_the_last_answer_is_handed_on_when_all_attempts_are_used_up(build: Build) -> None:
    clock = HurriedClock()
    house = await build(*[throttled("Retry-After: 1")] * 4, throttled("Retry-After: 9"), clock=clock)
    seen = await house.ask()
    assert (seen.status, seen.body, seen.get("Retry-After")) == (429, b"slow down", b"1")
    assert seen.told.startswith(b'countersign; details="4 attempts; waited 3.')
    assert len(house.api.messages) == 4


async def test_all_waiting_of_a_request_counts_together(build: Build) -> None:
    clock = HurriedClock()
    house = await build(throttled("Retry-After: 20"), throttled("Retry-After: 20"), clock=clock)
    seen = await house.ask()
    assert (seen.status, seen.get("Retry-After")) == (429, b"20")
    assert len(house.api.messages) == 2


async def test_a_small_wait_is_waited_for_real(build: Build) -> None:
    house = await build(throttled("Retry-After: 0.2"))
    started = monotonic()
    assert (await house.ask()).status == 200
    assert 0.2 <= monotonic() - started < PATIENCE


# -- together ------------------------------------------------------------------------------------------


async def test_20_requests_are_held_back_and_leave_paced(build: Build) -> None:
    clock = FakeClock()
    house = await build(throttled("Retry-After: 5"), clock=clock, retry=TOGETHER)
    asking = [asyncio.create_task(house.ask())]
    await house.api.came(lambda: clock.slept == [5])
    asking += [asyncio.create_task(house.ask()) for _ in range(19)]
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 20)
    await asyncio.sleep(0.05)
    assert len(house.api.messages) == 1

    left = []
    await clock.advance(4.9)
    for _ in range(400):
        await clock.advance(0.01)
        await asyncio.sleep(0.001)
        left.append(len(house.api.messages) - 1)
        if left[-1] == 20:
            break
    answers = await asyncio.gather(*asking)
    assert [each.status for each in answers] == [200] * 20
    assert len(house.api.messages) == 21
    assert max(after - before for before, after in pairwise(left)) <= 4  # no burst
    pauses = clock.slept[1:]
    assert pauses[0] == pytest.approx(0.1)
    assert pauses[5] < pauses[0]  # and ever faster


async def test_who_waits_when_the_gate_is_closed_anew_for_too_long_is_told(build: Build) -> None:
    clock = FakeClock()
    house = await build(throttled("Retry-After: 20"), throttled("Retry-After: 40"), clock=clock, retry=TOGETHER)
    first = asyncio.create_task(house.ask())
    await house.api.came(lambda: clock.slept == [20])
    second = asyncio.create_task(house.ask())
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 2)
    await asyncio.sleep(0.02)
    await clock.advance(20)
    handed_on, own = await first, await second
    assert (handed_on.status, handed_on.body, handed_on.get("Retry-After")) == (429, b"slow down", b"40")
    assert (own.status, own.error, own.get("Retry-After")) == (429, "http_request_denied", b"40")
    assert len(house.api.messages) == 2


async def test_who_leaves_while_it_waits_is_not_sent(build: Build) -> None:
    clock = FakeClock()
    house = await build(throttled("Retry-After: 5"), clock=clock, retry=TOGETHER)
    first = asyncio.create_task(house.ask())
    await house.api.came(lambda: clock.slept == [5])
    client = await house.connect()
    await client.send(post())
    await house.api.came(lambda: len(house.proxy.app._server.connections) == 2)
    await asyncio.sleep(0.02)
    client.reset()
    await house.api.came(lambda: "the client went away" in house.proxy.lines)
    await clock.advance(5)
    assert (await first).status == 200
    await clock.advance(5)
    assert [message.method for message in house.api.messages] == [b"GET", b"GET"]


async def test_other_routes_do_not_wait(start: Start) -> None:
    async with Api(throttled("Retry-After: 100")) as api:
        routes = {name: {"prefix": f"/{name}", "upstream": api.url, "retry": TOGETHER} for name in ("one", "other")}
        house = House(await start({"routes": routes}, clock=FakeClock()))
        assert (await house.ask(HEAD.replace(b"/x", b"/one"))).status == 429
        assert (await house.ask(HEAD.replace(b"/x", b"/other"))).status == 200
        assert (await house.ask(HEAD.replace(b"/x", b"/one"))).told.startswith(b"countersign; error=")
        await house.aclose()


# -- whether -------------------------------------------------------------------------------------------


async def test_a_post_that_was_throttled_is_sent_again_with_its_body(build: Build) -> None:
    house = await build(throttled("Retry-After: 1"), clock=HurriedClock())
    assert (await house.ask(post(), "POST")).status == 200
    assert [message.body for message in house.api.messages] == [b"hello", b"hello"]


async def test_a_chunked_post_that_was_throttled_is_sent_again_with_its_body(build: Build) -> None:
    house = await build(throttled("Retry-After: 1"), clock=HurriedClock(), limits={"replay_memory": 2})
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await house.ask(head + chunked(b"hel", b"lo"), "POST")).status == 200
    assert [message.body for message in house.api.messages] == [b"hello", b"hello"]


async def test_a_body_that_could_not_be_kept_is_not_sent_again(build: Build) -> None:
    house = await build(
        throttled("Retry-After: 1"), clock=HurriedClock(), limits={"replay_memory": 2, "replay_disk": 2}
    )
    seen = await house.ask(post(), "POST")
    assert (seen.status, seen.body, seen.get("Retry-After")) == (429, b"slow down", b"1")
    assert len(house.api.messages) == 1


LIMITED = ["X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 2"]


@pytest.mark.parametrize(
    ("request_", "first", "sent"),
    [
        (HEAD, throttled("Retry-After: 1", status=503), 2),
        (post(), throttled("Retry-After: 1", status=503), 1),
        (post("Idempotency-Key: a"), throttled("Retry-After: 1", status=503), 2),
        (post().replace(b"POST", b"PUT", 1), throttled("Retry-After: 1", status=503), 2),
        (HEAD, throttled("Retry-After: 1", status=403), 2),
        (HEAD, throttled(*LIMITED, status=403), 2),
        (HEAD, throttled("X-RateLimit-Remaining: 1", status=403), 1),
        (HEAD, throttled(status=403), 1),
        (post(), throttled(*LIMITED, status=403), 1),
        (HEAD, throttled(status=503), 2),
        (HEAD, throttled(status=502), 2),
        (HEAD, throttled(status=504), 2),
        (HEAD, throttled(status=500), 1),
        (HEAD, throttled(status=404), 1),
        (post(), throttled(status=503), 1),
        (post("Idempotency-Key: a"), throttled(status=503), 2),
    ],
)
async def test_what_may_be_sent_again_is(build: Build, request_: bytes, first: bytes, sent: int) -> None:
    house = await build(first, clock=HurriedClock(), options={"random": Random(7)})
    seen = await house.ask(request_)
    assert len(house.api.messages) == sent
    if sent == 1:
        assert (seen.body, seen.get("X-Theirs"), seen.told) == (b"slow down", b"yes", b"")
    else:
        assert (seen.status, seen.body) == (200, b"ok")
        assert b"2 attempts" in seen.told


async def test_methods_and_statuses_are_the_routes_to_say(build: Build) -> None:
    house = await build(throttled(status=500), clock=HurriedClock(), retry={"statuses": [500], "methods": ["POST"]})
    assert (await house.ask(post(), "POST")).status == 200


async def test_a_503_without_end_is_handed_on(build: Build) -> None:
    clock = HurriedClock()
    house = await build(clock=clock, options={"random": Random(7)})
    house.api.always = throttled(status=503)
    seen = await house.ask()
    assert (seen.status, seen.body) == (503, b"slow down")
    assert len(house.api.messages) == 4
    assert seen.told.startswith(b'countersign; details="4 attempts; waited ')
    assert all(pause <= limit for pause, limit in zip(clock.slept, (0.5, 1, 2), strict=True))


@pytest.mark.parametrize(("budget", "sent"), [(0, 30), (0.2, 30), (0.75, 35), (1, 40)])
async def test_retries_have_a_budget_but_a_few_are_free(build: Build, budget: float, sent: int) -> None:
    house = await build(clock=FakeClock(), retry={"attempts": 2, "budget": budget, "backoff": 0})
    house.api.always = throttled(status=503)
    for _ in range(20):
        assert (await house.ask()).status == 503
    assert len(house.api.messages) == sent


# -- connections that fail -----------------------------------------------------------------------------


@pytest.mark.parametrize("step", [closing(), resetting(), closing(b"HTTP/1.1 20")])
async def test_a_get_whose_connection_broke_is_sent_again(build: Build, step: Step) -> None:
    house = await build(step, step, OK, clock=HurriedClock(), options={"random": Random(7)})
    seen = await house.ask()
    assert (seen.status, b"3 attempts" in seen.told) == (200, True)


@pytest.mark.parametrize("step", [closing(), resetting(), closing(b"HTTP/1.1 20")])
async def test_a_post_whose_connection_broke_is_not(build: Build, step: Step) -> None:
    house = await build(step, clock=HurriedClock())
    seen = await house.ask(post(), "POST")
    assert (seen.status, seen.problem["status"]) == (502, 502)
    assert len(house.api.messages) == 1


async def test_an_answer_that_had_begun_is_not_asked_for_again(build: Build) -> None:
    house = await build(closing(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"), clock=HurriedClock())
    client = await house.connect()
    await client.send(HEAD)
    assert (await client.rest()).endswith(b"hello")
    assert len(house.api.messages) == 1


@pytest.mark.parametrize("request_", [HEAD, post()])
async def test_a_port_that_refuses_is_tried_again_for_any_method(lead: Build, request_: bytes) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        retry = {"backoff": 0.01, "attempts": 3}
        house = await lead(upstream=f"http://127.0.0.1:{taken.getsockname()[1]}", retry=retry)
        seen = await house.ask(request_)
    assert (seen.status, seen.error) == (502, "connection_refused")
    assert '"attempts": 3' in house.proxy.lines


async def test_an_api_that_comes_up_meanwhile_is_reached(lead: Build) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        house = await lead(upstream=f"http://127.0.0.1:{port}", retry={"backoff": 0.1, "attempts": 50})
        asking = asyncio.create_task(house.ask(post(), "POST"))
        await asyncio.sleep(0.05)
    async with Api() as api:
        server = await asyncio.start_server(api._connected, "127.0.0.1", port)
        seen = await asking
        server.close()
    assert (seen.status, seen.body) == (200, b"ok")
    assert [message.body for message in api.messages] == [b"hello"]


async def silent(_: object, line: object) -> None:
    await asyncio.Event().wait()


async def test_a_read_that_timed_out_is_not_tried_again(build: Build) -> None:
    house = await build(silent, silent, timeout={"read": 0.15}, retry={"backoff": 0.01})
    for request_ in (HEAD, post("Idempotency-Key: a")):
        seen = await house.ask(request_)
        assert (seen.status, seen.error) == (504, "connection_read_timeout")
    assert len(house.api.messages) == 2


async def test_where_that_is_configured_it_is_if_the_method_allows_it(build: Build) -> None:
    house = await build(silent, OK, silent, timeout={"read": 0.15}, retry={"backoff": 0.01, "read_timeout": True})
    assert (await house.ask()).status == 200
    seen = await house.ask(post(), "POST")
    assert (seen.status, seen.error) == (504, "connection_read_timeout")
    assert len(house.api.messages) == 3


async def test_an_answer_that_needs_nothing_is_told_nothing(build: Build) -> None:
    house = await build()
    assert (await house.ask()).told == b""
