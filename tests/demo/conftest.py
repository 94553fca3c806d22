from __future__ import annotations

from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest

from proxy import demo
from proxy.demo import DemoServer

from .doubles import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[DemoServer]:
    async with await demo.start(clock=clock, random=Random(1)) as server:
        yield server


@pytest.fixture
async def client(api: DemoServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, verify=False) as client:
        yield client
