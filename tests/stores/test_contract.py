"""What every store does. A store brings nothing but an entry in `STORES`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.stores import Setup, Store, Token, file, open_store
from tests.keyrings import OwnKeyring, own_keyring
from tests.stores.servers import WANTED

__all__ = ["own_keyring"]  # a fixture

KEYS = (b"key-canary", b"old")
STORES: dict[str, Callable[[Path], Setup]] = {
    "memory": lambda path: Setup(path, "memory"),
    "file": lambda path: Setup(path / "tokens.json", "file"),
    "file with key": lambda path: Setup(path / "tokens.json", "file", KEYS),
    "keyring": lambda path: Setup(path / "tokens.json", "keyring"),
    "keyring with key": lambda path: Setup(path / "tokens.json", "keyring", KEYS),
}
SERVED = {
    "redis": lambda server: Setup(Path(), server.url),
    "redis with key": lambda server: Setup(Path(), f"{server.url}/1", KEYS),
    "redis by unix socket": lambda server: Setup(Path(), f"unix://{server.socket}?db=2"),
}
TOKEN = Token("access-canary", 1000.5, "refresh-canary", "read", "DPoP", 900.0)
NAMES = ["a", "A", "", "../a/b", "ä\n\x00\ud800", "long" * 1000]


@pytest.fixture(params=[*STORES, *(pytest.param(name, marks=WANTED) for name in SERVED)])
async def store(request: pytest.FixtureRequest, tmp_path: Path, own_keyring: OwnKeyring) -> AsyncIterator[Store]:
    name = request.param
    setup = STORES[name](tmp_path) if name in STORES else SERVED[name](request.getfixturevalue("shared_server"))
    store = open_store(setup)
    yield store
    await store.aclose()


class Told:
    """Whom changes are told to.

    Attributes:
        names: what has been told and not been asked for.

    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self._news.set()

    async def of(self, name: str) -> None:
        """Wait until `name` is told, and take it and what was told before."""
        async with asyncio.timeout(5):
            while name not in self.names:
                self._news.clear()
                await self._news.wait()
        self.names = [other for other in self.names if other != name]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(file, "PAUSE", 0.01)
    return Told()


async def turns(count: int = 20) -> None:
    """Let the other tasks of the loop go on for a while."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_was_never_saved_is_not_there(store: Store) -> None:
    assert await store.load("a") is None
    assert await store.names() == []
    await store.forget("a")


async def test_what_is_saved_comes_back_and_the_last_one_counts(store: Store) -> None:
    await store.save("a", Token("other", None))
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN
    assert await store.load("a") == TOKEN


async def test_names_are_kept_apart_whatever_they_are(store: Store) -> None:
    for name in NAMES:
        await store.save(name, Token(f"of {name}", None))
    for name in NAMES:
        assert await store.load(name) == Token(f"of {name}", None)
    assert await store.names() == sorted(NAMES)


async def test_what_is_forgotten_is_gone_and_nothing_else(store: Store) -> None:
    await store.save("a", TOKEN)
    await store.save("b", TOKEN)
    await store.forget("a")
    assert await store.load("a") is None
    assert await store.names() == ["b"]


async def test_saves_at_once_lose_none(store: Store) -> None:
    names = [f"{number:02}" for number in range(30)]
    await asyncio.gather(*(store.save(name, Token(name, None)) for name in names))
    assert await store.names() == names


async def test_the_lock_lets_one_in_at_a_time(store: Store) -> None:
    async def renew() -> None:
        async with store.lock("a"):
            old = await store.load("a")
            await turns(3)
            await store.save("a", Token("t", (old.expires_at or 0) + 1 if old else 1))

    await asyncio.gather(*(renew() for _ in range(10)))
    assert await store.load("a") == Token("t", 10)


async def test_the_locks_of_two_names_have_nothing_to_do_with_each_other(store: Store) -> None:
    async with AsyncExitStack() as held:
        for name in NAMES:
            await asyncio.wait_for(held.enter_async_context(store.lock(name)), 5)


async def test_the_lock_is_free_after_a_failure(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.lock("a"):
            raise ZeroDivisionError
    async with asyncio.timeout(5), store.lock("a"):
        pass


async def test_who_is_cancelled_while_waiting_or_holding_leaves_the_lock_free(store: Store) -> None:
    async def hold() -> None:
        async with store.lock("a"):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold()) for _ in range(3)]
    await turns()
    for task in reversed(tasks):
        task.cancel()
    await asyncio.wait(tasks)
    async with asyncio.timeout(5), store.lock("a"):
        pass


async def test_a_hundred_who_wait_for_the_lock_leave_the_threads_to_others(store: Store) -> None:
    entered = 0

    async def enter() -> None:
        nonlocal entered
        async with store.lock("a"):
            entered += 1

    async with store.lock("a"):
        tasks = [asyncio.create_task(enter()) for _ in range(100)]
        await turns()
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 5) == 1
        assert entered == 0
    await asyncio.wait(tasks, timeout=10)
    assert entered == 100


# -- who watches -----------------------------------------------------------------------------------------


async def test_who_watches_hears_of_what_is_there_and_of_what_changes(store: Store, told: Told) -> None:
    await store.save("old", TOKEN)
    end = store.watch(told)
    await told.of("old")
    await store.save("new", TOKEN)
    await told.of("new")
    await store.save("new", Token("other", None))
    await told.of("new")
    await store.forget("old")
    await told.of("old")
    end()
    end()
    await store.save("new", TOKEN)
    await store.aclose()
    assert told.names == []


async def test_all_who_watch_hear_of_it_until_they_have_enough(store: Store, told: Told) -> None:
    other = Told()
    store.watch(told)
    end = store.watch(other)
    await store.save("a", TOKEN)
    await told.of("a")
    await other.of("a")
    end()
    await store.save("b", TOKEN)
    await told.of("b")
    assert other.names == []


async def test_a_store_that_works_has_no_trouble(store: Store) -> None:
    await store.save("a", TOKEN)
    assert store.trouble() is None


async def test_it_shows_no_secret(store: Store) -> None:
    await store.save("a", TOKEN)
    assert "canary" not in f"{store!r} {store} {await store.load('a')!r}"


async def test_its_scheme_is_its_module(store: Store) -> None:
    assert type(store).__module__ == "proxy.stores." + store.schemes[0].removesuffix("://")
