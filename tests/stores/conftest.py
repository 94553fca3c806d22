from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from proxy.stores import Setup, _lease, _redis
from proxy.stores.redis import RedisStore
from tests.stores.servers import RedisServer

Open = Callable[..., RedisStore]


@pytest.fixture(scope="session")
def _shared_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
def shared_server(_shared_server: RedisServer) -> RedisServer:
    """A redis server that is empty, and must not be killed."""
    _shared_server.ask("FLUSHALL")
    return _shared_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A redis server of one test."""
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open stores; they end with the test."""
    stores: list[RedisStore] = []

    def open_one(url: str, *keys: bytes, warn: Callable[[str], None] = print) -> RedisStore:
        stores.append(RedisStore.create(Setup(Path(), url, keys, warn)))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.aclose()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that waits for a server waits a tenth as long."""
    for module, name in ((_redis, "PATIENCE"), (_redis, "REST"), (_redis, "HEARTBEAT"), (_lease, "LIFE"),
                         (_lease, "RENEWED"), (_redis, "LATER")):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name) / 10)
