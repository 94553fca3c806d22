from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.stores._locks import TaskLocks, acquire, locked_in_thread
from proxy.threads import Threads

THREADS = Threads("locks")


async def test_a_name_has_one_lock_in_a_loop() -> None:
    locks = TaskLocks()
    assert locks.of("a") is locks.of("a")
    assert locks.of("a") is not locks.of("b")


def test_another_loop_has_other_locks() -> None:
    locks = TaskLocks()

    async def of() -> asyncio.Lock:
        return locks.of("a")

    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(of()) is not other.run(of())


async def test_a_file_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = await acquire(path, THREADS)
    second = asyncio.create_task(acquire(path, THREADS))
    with pytest.raises(TimeoutError), locked_in_thread(path, 0):
        pass
    assert not second.done()
    held.release()
    (await asyncio.wait_for(second, 5)).release()
    with locked_in_thread(path, 0):
        pass


async def test_who_is_cancelled_while_waiting_never_has_it(tmp_path: Path) -> None:
    held = await acquire(tmp_path / "lock", THREADS)
    waiting = asyncio.create_task(acquire(tmp_path / "lock", THREADS))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    held.release()
    with locked_in_thread(tmp_path / "lock", 0):
        pass


async def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        await acquire(tmp_path / "lock", THREADS)
    assert not (tmp_path / "target").exists()
