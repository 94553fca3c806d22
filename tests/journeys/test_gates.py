"""Which requests wait because the API refused others, and what `timeout.total` covers: over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from tests.doubles import FakeClock
from tests.journeys.conftest import Build, House
from tests.journeys.processes import TOKEN, Run, run_to
from tests.journeys.wires import OK, Api, Line, Message, answer

Asking = asyncio.Task[Message]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def chat(model: str) -> bytes:
    body = json.dumps({"model": model})
    return f"POST /v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def refusing(refusals: dict[bytes, bytes]) -> Callable[[Message, Line], Awaitable[None]]:
    """An API that refuses the requests whose target or body holds one of the words."""

    async def step(message: Message, line: Line) -> None:
        found = (response for word, response in refusals.items() if word in message.target + message.body)
        await line.send(next(found, OK))

    return step


LONG, SHORT, BARE = (answer(429, b"slow down", *fields) for fields in (["Retry-After: 3600"], ["Retry-After: 5"], []))
SEARCH = answer(403, b"limit", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 55")
REPORT = answer(503, b"later", "Retry-After: 300")


async def seen(asking: list[Asking]) -> list[int]:
    return [(await task).status for task in asking]


async def begin(house: House, *requests: bytes) -> list[Asking]:
    """Send requests, and wait until each has got as far as it gets."""
    tasks = [asyncio.create_task(house.ask(request)) for request in requests]
    count = len(house._clients) + len(requests)
    await house.api.came(lambda: len(house._clients) == count)
    await asyncio.sleep(0.05)
    return tasks


@pytest.mark.parametrize(
    ("refused", "response", "other"),
    [
        (chat("big"), LONG, chat("small")),
        (get("/search/code?q=a"), SEARCH, get("/user")),
        (chat("report"), REPORT, get("/v1/chat")),
        (chat("retired"), BARE, chat("small")),
    ],
    ids=["model", "search", "report", "no time"],
)
async def test_one_resource_that_is_refused_locks_no_other(
    build: Build, refused: bytes, response: bytes, other: bytes
) -> None:
    house = await build(retry={"backoff": "1ms"})
    house.api.always = refusing(dict.fromkeys((b"big", b"search", b"report", b"retired"), response))
    for _ in range(3):
        theirs = await house.ask(refused)
        assert (theirs.status, theirs.body) == (int(response[9:12]), response.rpartition(b"\r\n\r\n")[2])
        async with asyncio.timeout(5):
            assert (await house.ask(other)).status == 200


async def test_two_models_behind_one_path_wait_together_until_the_time_is_over(build: Build) -> None:
    clock = FakeClock()
    house = await build(clock=clock)
    house.api.always = refusing({b"big": SHORT})
    first = await begin(house, chat("big"))
    assert (await house.ask(chat("small"))).status == 200
    second = await begin(house, chat("big"))
    held = await begin(house, chat("small"))
    assert (await house.ask(get("/v1/chat"))).status == 200
    assert len(house.api.messages) == 4
    house.api.always = OK
    for _ in range(60):
        await clock.advance(0.1)
        await asyncio.sleep(0.002)
    assert await seen(first + second + held) == [200] * 3


async def test_two_paths_close_the_route(build: Build) -> None:
    clock = FakeClock()
    house = await build(clock=clock)
    house.api.always = refusing({b"/a": SHORT, b"/b": SHORT})
    tasks = await begin(house, get("/a"), get("/b"))
    tasks += await begin(house, get("/user"))
    assert len(house.api.messages) == 2
    house.api.always = OK
    for _ in range(60):
        await clock.advance(0.1)
        await asyncio.sleep(0.002)
    assert await seen(tasks) == [200] * 3


async def test_requests_of_what_is_refused_for_long_pass_one_at_a_time(build: Build) -> None:
    house = await build()
    house.api.always = LONG
    assert [(await house.ask(chat("big"))).status for _ in range(2)] == [429, 429]
    at_work = most = 0

    async def counting(_: Message, line: Line) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.01)
        at_work -= 1
        await line.send(LONG)

    house.api.always = counting
    answers = await asyncio.gather(*(house.ask(chat("big")) for _ in range(10)))
    assert [each.status for each in answers] == [429] * 10
    assert {each.body for each in answers} == {b"slow down"}
    assert most == 1


# -- timeout.total ---------------------------------------------------------------------------------------


async def hanging(_: Message, __: Line) -> None:
    await asyncio.Event().wait()


async def test_total_covers_the_wait_for_a_place(build: Build) -> None:
    house = await build(timeout={"total": "400ms"}, limits={"concurrency": 1})
    house.api.always = hanging
    begun = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(house.ask(get("/x")) for _ in range(5)))
    assert asyncio.get_running_loop().time() - begun < 1.5
    assert [each.status for each in answers] == [504] * 5
    details = {each.problem["detail"] for each in answers}
    assert "the answer did not come within timeout.total" in details
    assert any("limits.concurrency" in detail for detail in details)


async def test_total_covers_what_an_api_asked_to_wait(build: Build) -> None:
    house = await build(SHORT, timeout={"total": "200ms"})
    seen = await house.ask(get("/x"))
    assert (seen.status, seen.error) == (504, "http_response_timeout")
    assert seen.problem["detail"] == "timeout.total passed while the request waited because the API asked to"


async def test_total_covers_a_slow_upload(build: Build) -> None:
    house = await build(timeout={"total": "200ms"})
    client = await house.connect()
    await client.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
    assert (await client.answer()).status == 504


async def test_the_settings_stand_in_the_environment_too(run: Run, api: Api) -> None:
    settings = {"COUNTERSIGN_RETRY__GATE": "route", "COUNTERSIGN_RETRY__READ_TIMEOUT": "true"}
    api.script = [LONG]
    process = await run(*run_to(api), env=TOKEN | settings)
    port = await process.port()
    for _ in range(2):
        line = await process.connect(port)
        await line.send(get("/x"))
        assert (await line.answer()).status == 429
    assert len(api.messages) == 1
