from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from proxy.threads import Threads


def test_calls_run_in_order_and_return_or_raise() -> None:
    threads, seen = Threads("test"), list[int]()
    for number in range(100):
        threads.submit(seen.append, number)
    assert threads.submit(divmod, 7, 2).result(10) == (3, 1)
    assert seen == list(range(100))
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(10)
    assert threads.submit(lambda: threading.current_thread().daemon).result(10)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
async def test_what_would_end_the_process_is_an_exception_for_who_waits(kind: type[BaseException]) -> None:
    def ends() -> None:
        raise kind("c4n4ry")

    threads = Threads("test")
    with pytest.raises(RuntimeError, match=f"^{kind.__name__} in a thread$"):
        await asyncio.wait_for(asyncio.wrap_future(threads.submit(ends)), 10)
    assert await asyncio.wait_for(asyncio.wrap_future(threads.submit(int)), 10) == 0


async def test_one_that_hangs_takes_one_thread_of_its_own_and_none_of_others() -> None:
    gate = threading.Event()
    hanging, other = Threads("hanging", 2), Threads("other")
    stuck = hanging.submit(gate.wait, 30)
    assert await asyncio.wait_for(asyncio.wrap_future(hanging.submit(int)), 10) == 0
    second = hanging.submit(gate.wait, 30)
    third = hanging.submit(int)
    assert await asyncio.wait_for(asyncio.wrap_future(other.submit(int)), 10) == 0
    assert not third.done()
    gate.set()
    for each in (stuck, second):
        assert await asyncio.wait_for(asyncio.wrap_future(each), 10)
    assert await asyncio.wait_for(asyncio.wrap_future(third), 10) == 0


async def test_one_that_is_cancelled_while_it_waits_never_runs() -> None:
    gate, ran = threading.Event(), list[int]()
    threads = Threads("test")
    first = threads.submit(gate.wait, 30)
    second = asyncio.wrap_future(threads.submit(ran.append, 1))
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert threads.submit(ran.append, 2).result(10) is None
    assert (first.result(), ran) == (True, [2])


def test_an_idle_thread_is_used_again_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads("test", 8)
    assert len({threads.submit(threading.get_ident).result(10) for _ in range(20)}) < 3
    monkeypatch.setattr("proxy.threads._LINGER", 0.0)
    thread = Threads("short").submit(threading.current_thread).result(10)
    thread.join(10)
    assert not thread.is_alive()


def test_after_shutdown_what_was_submitted_runs_and_nothing_more() -> None:
    gate, threads = threading.Event(), Threads("test")
    threads.submit(gate.wait, 30)
    waiting = threads.submit(int)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(int)
    gate.set()
    assert waiting.result(10) == 0


def test_after_shutdown_what_was_submitted_is_cancelled_if_that_is_wanted() -> None:
    gate, threads = threading.Event(), Threads("test")
    threads.submit(gate.wait, 30)
    waiting = threads.submit(int)
    threads.shutdown(cancel_futures=True)
    gate.set()
    assert waiting.cancelled()


def test_without_a_thread_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    threads = Threads("test")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread"):
            threads.submit(int)
    assert threads.submit(int).result(10) == 0


async def test_a_fork_has_threads_of_its_own() -> None:
    code = """
import os, threading
from proxy.threads import Threads
threads = Threads("test")
threads.submit(threading.Event().wait)
if os.fork():
    _, status = os.wait()
    os._exit(os.waitstatus_to_exitcode(status))
os._exit(threads.submit(lambda: 7).result(10))
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await asyncio.wait_for(process.wait(), 20) == 7


def test_one_that_hangs_does_not_hold_up_the_exit() -> None:
    code = """
import asyncio, threading
from proxy.threads import Threads
async def main():
    asyncio.get_running_loop().run_in_executor(Threads("test"), threading.Event().wait)
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20, env=os.environ)


async def test_the_loop_hands_it_calls_as_to_any_executor() -> None:
    assert await asyncio.get_running_loop().run_in_executor(Threads("test"), int, "5") == 5
