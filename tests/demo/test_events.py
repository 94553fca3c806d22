from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy import demo
from proxy.demo import DemoServer

from .doubles import BEARER


class Pace:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.cancelled = asyncio.Event()
        self._steps = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        try:
            await self._steps.acquire()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self._steps.release()


@pytest.fixture
async def pace() -> Pace:
    return Pace()


@pytest.fixture
async def api(pace: Pace) -> AsyncIterator[DemoServer]:
    async with await demo.start(sleep=pace.sleep) as server:
        yield server


async def test_the_head_comes_first_and_then_event_by_event(client: httpx.AsyncClient, pace: Pace) -> None:
    async with client.stream("GET", "/events/hello?count=2", headers=BEARER) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"

        chunks = response.aiter_bytes()
        pace.step()
        first = (await anext(chunks)).decode()
        assert first.startswith('id: 1\nevent: tick\ndata: {"event": 1, "of": 2, "saw": {')
        assert first.endswith("}\n\n")
        assert json.loads(first.split("data: ")[1])["saw"]["headers"]["Authorization"] == "Bearer d***"

        pace.step()
        assert await anext(chunks) == b'id: 2\nevent: tick\ndata: {"event": 2, "of": 2}\n\n'
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_there_are_twenty_events_half_a_second_apart(client: httpx.AsyncClient, pace: Pace) -> None:
    pace.step(20)

    response = await client.get("/events/hello", headers=BEARER)

    assert response.text.count("data: ") == 20
    assert pace.asked == [0.5] * 20


async def test_the_pause_is_the_clients_choice(client: httpx.AsyncClient, pace: Pace) -> None:
    pace.step(2)

    await client.get("/events/hello?count=2&interval=0.25", headers=BEARER)

    assert pace.asked == [0.25, 0.25]


async def test_it_ends_when_the_client_goes_away(client: httpx.AsyncClient, pace: Pace) -> None:
    async with client.stream("GET", "/events/hello", headers=BEARER):
        pass

    await asyncio.wait_for(pace.cancelled.wait(), 5)


async def test_a_closing_server_ends_the_stream(client: httpx.AsyncClient, api: DemoServer, pace: Pace) -> None:
    async with client.stream("GET", "/events/hello", headers=BEARER) as response:
        await api.aclose()

        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()


async def test_head_gets_the_head_alone(client: httpx.AsyncClient) -> None:
    response = await client.head("/events/hello", headers=BEARER)

    assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("query", ["count=-1", "count=many", "count=nan", "interval=inf", "interval=-1"])
async def test_a_wrong_parameter_is_400(client: httpx.AsyncClient, query: str) -> None:
    response = await client.get(f"/events/hello?{query}", headers=BEARER)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


async def test_events_are_for_the_bearer_token_only(client: httpx.AsyncClient) -> None:
    assert (await client.get("/events/hello")).status_code == 401
