"""The file store between processes, some of which are killed. ``COUNTERSIGN_KILLS=500`` kills that often."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.stores import Setup, Token, file
from proxy.stores._tokenfile import TokenFile
from proxy.stores.file import FileStore

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("COUNTERSIGN_KILLS", "30"))  # asked now: no test sees such a variable
PRELUDE = """
import asyncio, os, sys
from pathlib import Path
from proxy.stores import Setup, Token
from proxy.stores.file import FileStore
store = FileStore(Setup(Path(sys.argv[1])))
"""
HOLD = """
async def main():
    async with store.lock("a"):
        print("held", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""
COUNT = """
async def main():
    for _ in range(50):
        async with store.lock("a"):
            old = await store.load("a")
            await store.save("a", Token("t", (old.expires_at if old else 0) + 1))
asyncio.run(main())
"""
WRITE = """
async def write(number):
    while True:
        number += 1
        await store.save("a", Token("x" * (number % 40 * 500) + "y", float(number)))
        os.write(1, b"%d\\n" % number)
# Forking is what makes hundreds of short lives cheap.
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        asyncio.run(write(int(line)))
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


@contextmanager
def process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `code` in an interpreter of its own, for as long as the block lasts at most."""
    command = [sys.executable, "-c", PRELUDE + code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=ROOT) as child:
        try:
            yield child
        finally:
            child.kill()


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    assert line, "the helper ended early"
    return line


@pytest.mark.parametrize("end", ["exit", "kill"])
async def test_the_lock_holds_between_processes_and_ends_with_its_holder(tmp_path: Path, end: str) -> None:
    store = FileStore(Setup(tmp_path / "tokens.json"))
    with process(HOLD, tmp_path / "tokens.json") as holder:
        assert await asyncio.to_thread(line_of, holder) == "held"
        waiting = asyncio.ensure_future(store.lock("a").__aenter__())
        async with asyncio.timeout(5), store.lock("b"):
            assert not (await asyncio.wait([waiting], timeout=0.03))[0]
        if end == "kill":
            holder.kill()
        else:
            assert holder.stdin is not None
            holder.stdin.close()
        await asyncio.wait_for(waiting, 5)
    await store.aclose()


async def test_who_watches_hears_of_what_another_process_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "PAUSE", 0.01)
    store = FileStore(Setup(tmp_path / "tokens.json"))
    told: asyncio.Queue[str] = asyncio.Queue()
    store.watch(told.put_nowait)
    with process('asyncio.run(store.save("a", Token("t", None)))', tmp_path / "tokens.json"):
        assert await asyncio.wait_for(told.get(), 10) == "a"
    await store.aclose()


def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    with process(COUNT, path) as one, process(COUNT, path) as other:
        assert one.wait(30) == other.wait(30) == 0
    assert TokenFile(path, None, print).read() == {"a": Token("t", 100)}


def test_a_writer_killed_at_any_moment_leaves_what_it_saved(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    warned: list[str] = []
    file = TokenFile(path, None, warned.append)
    number = 0
    with process(WRITE, path) as helper:
        for _ in range(KILLS):
            acknowledged = _killed_writer(helper, number)
            found = file.read()["a"]
            assert found.expires_at is not None
            # What was told as saved is there; what was under way may be.
            assert acknowledged <= found.expires_at <= acknowledged + 1
            number = int(found.expires_at)
            assert found.access_token == "x" * (number % 40 * 500) + "y"
    assert warned == []
    file.put("b", Token("t", None))
    assert {entry.name for entry in tmp_path.iterdir()} <= {"tokens.json", "tokens.json.lock"}


def _killed_writer(helper: subprocess.Popen[str], number: int) -> int:
    """Let a writer go on from `number` and kill it; return what it said it had saved last."""
    assert helper.stdin is not None
    helper.stdin.write(f"{number}\n")
    child, acknowledged = 0, number
    after = number + random.randrange(1, 4)
    while not child or acknowledged < after:
        match line_of(helper).split():
            case ["child", process_id]:
                child = int(process_id)
            case [saved]:
                acknowledged = int(saved)
    time.sleep(random.uniform(0, 0.004))  # a moment within a write, which is what this is about
    os.kill(child, signal.SIGKILL)
    while (line := line_of(helper)) != "dead":
        acknowledged = int(line)
    return acknowledged
