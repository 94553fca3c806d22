from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.stores import Setup, Token, _tokenfile, file
from proxy.stores._locks import locked_in_thread
from proxy.stores.file import FileStore

TOKEN = Token("access-canary", 1000.5, "refresh-canary")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "countersign" / "tokens.json"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[FileStore]:
    store = FileStore(Setup(path))
    yield store
    await store.aclose()


def entries(folder: Path) -> dict[str, int]:
    """Names and modes of what is in `folder`, and of itself as an empty name."""
    found = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}
    return found | {"": stat.S_IMODE(folder.stat().st_mode)}


# -- where and how ---------------------------------------------------------------------------------------


async def test_only_its_owner_may_see_anything(store: FileStore, path: Path) -> None:
    old = os.umask(0)
    try:
        async with store.lock("a"):
            await store.save("a", TOKEN)
            found = entries(path.parent)
    finally:
        os.umask(old)
    assert found.pop("") == 0o700
    assert set(found.values()) == {0o600}
    assert len(found) >= 2  # the file, and the lock of the name


async def test_asking_an_empty_store_leaves_no_folder(store: FileStore, path: Path) -> None:
    assert await store.load("a") is None
    assert await store.names() == []
    assert list(entries(path.parents[2])) == [""]


async def test_another_directory_to_work_in_is_not_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore(Setup(Path("tokens.json")))
    monkeypatch.chdir("/")
    await store.save("a", TOKEN)
    await store.aclose()
    assert "tokens.json" in entries(tmp_path)


async def test_an_unchanged_file_is_not_read_again(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.save("a", TOKEN)
    monkeypatch.setattr(_tokenfile, "_FRESH", -(10**18))
    assert await store.load("a") == TOKEN
    monkeypatch.setattr(_tokenfile, "read_safely", None)
    assert await store.load("a") == TOKEN
    assert await store.names() == ["a"]


async def test_what_is_loaded_under_the_lock_was_read_under_it(store: FileStore) -> None:
    assert await store.load("a") is None
    assert store._file.unchanged() == {}
    async with store.lock("a"):
        assert store._file.unchanged() is None


async def test_without_anyone_to_warn_the_log_is_told(
    store: FileStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save("a", TOKEN)
    os.truncate(path, 7)
    with caplog.at_level(logging.WARNING):
        assert await store.load("a") is None
    assert "set aside" in caplog.text


# -- failures --------------------------------------------------------------------------------------------


async def test_a_folder_that_cant_be_is_told(tmp_path: Path) -> None:
    os.close(os.open(tmp_path / "file", os.O_CREAT))
    store = FileStore(Setup(tmp_path / "file" / "tokens.json"))
    with pytest.raises(StoreError, match="can't be read: Not a directory"):
        await store.load("a")
    with pytest.raises(StoreError, match="can't be written: "):
        await store.save("a", TOKEN)
    with pytest.raises(StoreError, match=r"tokens\.json can't be locked: "):
        async with store.lock("a"):
            pass
    await store.aclose()


async def test_a_closed_store_says_so(store: FileStore) -> None:
    await store.aclose()
    with pytest.raises(StoreError, match="is closed"):
        await store.save("a", TOKEN)


async def test_what_could_not_be_done_is_trouble_until_it_can(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.save("a", TOKEN)
    path.chmod(0o644)
    with pytest.raises(StoreError):
        await store.load("a")
    assert "chmod 600" in str(store.trouble())
    path.chmod(0o600)
    await store.load("a")
    assert store.trouble() is None
    monkeypatch.setattr(_tokenfile, "PATIENCE", 0.0)
    with locked_in_thread(path.with_name("tokens.json.lock"), 0), pytest.raises(StoreError):
        await store.save("a", TOKEN)
    await store.load("a")
    assert "can't be written" in str(store.trouble())
    await store.save("a", TOKEN)
    assert store.trouble() is None


async def test_who_watches_a_file_that_cant_be_read_hears_of_it_when_it_can(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PAUSE", 0.01)
    await store.save("a", TOKEN)
    path.chmod(0o644)
    told = asyncio.Event()
    store.watch(lambda name: told.set())
    while store.trouble() is None:
        await asyncio.sleep(0.01)
    path.chmod(0o600)
    await asyncio.wait_for(told.wait(), 5)


async def test_tokens_of_a_file_that_is_gone_were_not_forgotten(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PAUSE", 0.01)
    told: asyncio.Queue[str] = asyncio.Queue()
    await store.save("a", TOKEN)
    store.watch(told.put_nowait)
    assert await asyncio.wait_for(told.get(), 5) == "a"
    path.unlink()
    await asyncio.sleep(0.05)
    await store.save("b", TOKEN)
    assert await asyncio.wait_for(told.get(), 5) == "b"
    await store.forget("b")
    assert await asyncio.wait_for(told.get(), 5) == "b"


async def test_a_look_that_fails_unexpectedly_is_reported_and_ends_no_watch(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PAUSE", 0.01)
    warned: list[str] = []
    told: asyncio.Queue[str] = asyncio.Queue()
    store = FileStore(Setup(path, warn=warned.append))
    await store.save("a", TOKEN)
    store.watch(told.put_nowait)
    assert await asyncio.wait_for(told.get(), 5) == "a"
    unchanged, failures = store._file.unchanged, 0

    def broken() -> None:
        nonlocal failures
        failures += 1
        raise RuntimeError("t0ken-canary")

    store._file.unchanged = broken  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        while failures < 3:
            await asyncio.sleep(0.01)
    store._file.unchanged = unchanged  # type: ignore[method-assign]
    await store.save("b", TOKEN)
    await store.forget("a")
    assert {await asyncio.wait_for(told.get(), 5), await asyncio.wait_for(told.get(), 5)} == {"a", "b"}
    assert len(warned) == 1
    assert "the watch of the token store failed with RuntimeError at " in warned[0]
    assert "canary" not in warned[0]
    await store.aclose()


# -- cancellation and threads ----------------------------------------------------------------------------


async def test_a_cancelled_save_is_over_only_when_it_is_done(store: FileStore, path: Path) -> None:
    await store.save("a", Token("old", None))
    with locked_in_thread(path.with_name("tokens.json.lock"), 0):
        task = asyncio.create_task(store.save("a", TOKEN))
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        assert not (await asyncio.wait([task], timeout=0.02))[0]
    await asyncio.wait([task])
    assert task.cancelled()
    assert await store.load("a") == TOKEN


async def test_a_cancelled_save_that_fails_is_cancelled_and_the_old_token_stays(
    store: FileStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tokenfile, "PATIENCE", 0.0)
    await store.save("a", TOKEN)
    with locked_in_thread(path.with_name("tokens.json.lock"), 0):
        task = asyncio.create_task(store.save("a", Token("new", None)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert await store.load("a") == TOKEN


async def test_a_cancelled_load_is_over_at_once(store: FileStore, path: Path) -> None:
    await store.save("a", TOKEN)
    with locked_in_thread(path.with_name("tokens.json.lock"), 0):
        saving = asyncio.create_task(store.save("a", TOKEN))
        loading = asyncio.create_task(store.load("a"))
        await asyncio.sleep(0)
        loading.cancel()
        await asyncio.wait([loading], timeout=5)
        assert loading.cancelled()
        assert not saving.done()
    await saving


def test_threads_with_loops_of_their_own_exclude_each_other(path: Path) -> None:
    store = FileStore(Setup(path))

    async def renew() -> None:
        for _ in range(10):
            async with store.lock("a"):
                old = await store.load("a")
                await store.save("a", Token("t", (old.expires_at or 0) + 1 if old else 1))

    threads = [threading.Thread(target=asyncio.run, args=(renew(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(store.load("a")) == Token("t", 20)
    asyncio.run(store.aclose())
