"""The lock of the redis store, between stores as replicas have them and between processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.stores import Token, _lease
from proxy.stores.redis import RedisStore
from tests.stores.conftest import Open
from tests.stores.servers import WANTED, RedisServer

pytestmark = WANTED
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def pair(server: RedisServer, opened: Open) -> tuple[RedisStore, RedisStore]:
    """Two stores as two replicas have them."""
    return opened(server.url), opened(server.url)


async def test_the_lock_holds_between_replicas_for_as_long_as_it_is_held(
    hurried: None, pair: tuple[RedisStore, RedisStore]
) -> None:
    one, other = pair
    async with one.lock("a"):
        waiting = asyncio.ensure_future(other.lock("a").__aenter__())
        async with asyncio.timeout(5), other.lock("b"):
            pass
        assert not (await asyncio.wait([waiting], timeout=3 * _lease.LIFE))[0]
    await asyncio.wait_for(waiting, 5)


async def test_the_lock_of_a_process_that_was_killed_is_free_soon(
    hurried: None, server: RedisServer, opened: Open
) -> None:
    async with holder(server.url) as process:
        process.kill()
        process.wait()
        async with asyncio.timeout(20), opened(server.url).lock("a"):
            pass


@asynccontextmanager
async def holder(url: str) -> AsyncIterator[subprocess.Popen[str]]:
    """A process that holds the lock of ``a``."""
    code = f"""
import asyncio, sys
from pathlib import Path
from proxy.stores import Setup, open_store
async def main():
    async with open_store(Setup(Path(), {url!r})).lock("a"):
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:  # noqa: ASYNC220  # ends soon
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "held\n"
        try:
            yield process
        finally:
            process.kill()


async def test_who_lost_the_lock_does_not_overwrite_what_the_next_holder_saved(
    server: RedisServer, pair: tuple[RedisStore, RedisStore]
) -> None:
    slept, other = pair
    await other.save("a", Token("old", None))
    async with slept.lock("a"):
        await slept.load("a")
        server.ask("DEL", "countersign:lock:a")  # as it is after its machine slept
        async with other.lock("a"):
            await other.load("a")
            await other.save("a", Token("newer", None))
            with pytest.raises(StoreError, match="was lost, and another process has saved a newer token"):
                await slept.save("a", Token("late", None))
    assert await slept.load("a") == Token("newer", None)
    async with slept.lock("a"):  # whose end did not take the lock from the other
        pass


async def test_who_lost_the_lock_saves_what_nobody_else_has_renewed(
    server: RedisServer, pair: tuple[RedisStore, RedisStore]
) -> None:
    one, other = pair
    for old in (None, Token("t", None)):
        async with one.lock("a"):
            assert await one.load("a") == old
            server.ask("DEL", "countersign:lock:a")
            await one.save("a", Token("t", None))
            await one.save("a", Token("t", None))
    assert await other.load("a") == Token("t", None)


def test_two_processes_lose_no_update(server: RedisServer) -> None:
    code = f"""
import asyncio
from pathlib import Path
from proxy.stores import Setup, Token, open_store
async def main():
    store = open_store(Setup(Path(), {server.url!r}))
    for _ in range(50):
        async with store.lock("a"):
            old = await store.load("a")
            await store.save("a", Token("t", (old.expires_at if old else 0) + 1))
    await store.aclose()
asyncio.run(main())
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert b'"expires_at": 100' in server.ask("GET", "countersign:token:a")
