"""Lookups: shared by all who wait for a name, a few for each name, and none for an address."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.transport import resolve as module
from proxy.transport.resolve import MOST, resolve
from tests.transport.requests import until

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


class NameServer:
    """Answers for ``quick.test`` at once, and for other names when it is released.

    Attributes:
        asked: the names, in order.
        failing: how many of the next lookups fail.

    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing = 0
        self._gates: list[threading.Event] = []

    def __call__(self, host: str, *_: Any, **__: Any) -> list[Any]:
        gate = threading.Event()
        self.asked.append(host)
        if host != "quick.test":
            self._gates.append(gate)
            assert gate.wait(30)
        if self.failing:
            self.failing -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return FOUND

    def release(self, which: int | None = None) -> None:
        for gate in self._gates if which is None else [self._gates[which]]:
            gate.set()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.release()


def ask(host: str = "slow.test") -> asyncio.Task[list[Any]]:
    return asyncio.create_task(resolve(host, 80, type=socket.SOCK_STREAM))


async def test_all_who_wait_for_a_name_wait_for_one_lookup(server: NameServer) -> None:
    asking = [ask() for _ in range(100)]
    await until(lambda: len(server.asked) == 1)
    server.release()
    assert await asyncio.gather(*asking) == [FOUND] * 100
    assert server.asked == ["slow.test"]


async def test_a_name_is_looked_up_again_the_next_time(server: NameServer) -> None:
    for _ in range(3):
        assert await ask("quick.test") == FOUND
    assert server.asked == ["quick.test"] * 3
    await until(lambda: not module._names[asyncio.get_running_loop()])


async def test_names_that_hang_delay_no_other(server: NameServer) -> None:
    asking = [ask(f"slow-{number}.test") for number in range(40)]
    await until(lambda: len(server.asked) == 40)
    assert await asyncio.wait_for(ask("quick.test"), 10) == FOUND
    server.release()
    await asyncio.gather(*asking)


async def test_those_who_gave_up_leave_nothing_behind_but_the_lookup(server: NameServer) -> None:
    for _ in range(20):
        asking = ask()
        await until(lambda: len(server.asked) == 1)
        asking.cancel()
        await asyncio.wait([asking])
    assert await asyncio.wait_for(ask("quick.test"), 10) == FOUND
    last = ask()
    server.release()
    assert await last == FOUND
    assert server.asked.count("slow.test") == 1


async def test_one_that_hangs_is_not_relied_on_for_ever(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask()
    await until(lambda: len(server.asked) == 1)
    monkeypatch.setattr(module, "AGAIN", 0.0)
    second = ask()
    await until(lambda: len(server.asked) == 2)
    server.release(1)
    assert await first == await second == FOUND
    third = ask()  # not for the first lookup, which still hangs
    await until(lambda: len(server.asked) == 3)
    server.release(2)
    assert await third == FOUND


async def test_of_one_name_only_a_few_lookups_hang(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    asking = [ask() for _ in range(3 * MOST)]
    await until(lambda: len(server.asked) == MOST)
    await asyncio.sleep(0.05)
    assert len(server.asked) == MOST
    server.release()
    assert await asyncio.gather(*asking) == [FOUND] * 3 * MOST


async def test_a_failure_is_told_to_all(server: NameServer) -> None:
    server.failing = 1
    asking = [ask() for _ in range(3)]
    await until(lambda: len(server.asked) == 1)
    server.release()
    failures = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(failure) for failure in failures] == [socket.gaierror] * 3


async def test_an_old_lookup_that_fails_does_not_fail_those_of_a_newer_one(
    server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.failing = 1
    monkeypatch.setattr(module, "AGAIN", 0.0)
    asking = [ask(), ask()]
    await until(lambda: len(server.asked) == 2)
    server.release(0)
    await until(lambda: server.failing == 0)
    server.release(1)
    assert await asyncio.gather(*asking) == [FOUND, FOUND]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_an_address_needs_no_lookup(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Threads", lambda *_: pytest.fail("a thread"))
    found = await resolve(address, 80, type=socket.SOCK_STREAM)
    assert [each[4][:2] for each in found] == [(address, 80)]


async def test_without_a_thread_it_is_an_error_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(OSError, match="no thread"):
            await resolve("localhost", 80)
    assert await resolve("localhost", 80)


def test_a_lookup_that_outlives_its_loop_hurts_nobody(server: NameServer) -> None:
    async def leave() -> None:
        asking = ask()
        await until(lambda: len(server.asked) == 1)
        asking.cancel()

    asyncio.run(leave())
    server.release()
    asyncio.run(asyncio.wait_for(resolve("quick.test", 80), 10))
