"""What all kinds of listeners have in common."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
import uvloop

from proxy.gateway import Entrance
from proxy.listeners import AT_ONCE, Listener, ListenError, kind

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


async def opened(address: str) -> Listener:
    kind(address).check(address)
    listener = kind(address).bind(address)
    await listener.accept(lambda entrance: Greeter)
    return listener


@pytest.fixture(params=["127.0.0.1:0", "localhost:0", "unix:"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix:" else str(request.param)


async def greeting(listener: Listener) -> bytes:
    if listener.shown.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(listener.shown.removeprefix("unix:"))
    else:
        host, _, port = listener.shown.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_clients_come_in_by_the_address_that_is_shown(address: str) -> None:
    listener = await opened(address)
    try:
        assert await greeting(listener) == b"hello"
        assert listener.entrance.name == address
        assert kind(address).is_local(address)
    finally:
        listener.close()


async def test_nobody_comes_in_after_the_end_and_the_address_is_free_again(address: str) -> None:
    listener = await opened(address)
    if listener.entrance.port:
        address = address.replace(":0", f":{listener.entrance.port}")
    listener.close()
    with pytest.raises(OSError):  # noqa: PT011  # refused, or no such file
        await greeting(listener)
    again = await opened(address)
    again.close()


async def test_an_address_in_use_is_told(address: str) -> None:
    listener = await opened(address)
    if listener.entrance.port:
        address = address.replace(":0", f":{listener.entrance.port}")
    try:
        with pytest.raises(ListenError, match=r"(right would be|expected) another p"):
            await opened(address)
        assert await greeting(listener) == b"hello"
    finally:
        listener.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_newcomers_do_not_wait_for_each_other(address: str, loop: str) -> None:
    async def turns() -> int:
        came = 0

        class Counted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal came
                came += 1
                transport.close()

        listener = kind(address).bind(address)
        await listener.accept(lambda entrance: Counted)
        clients = [connected(listener) for _ in range(32)]
        count = most = 0
        while came < len(clients):
            before = came
            await asyncio.sleep(0)
            most = max(most, came - before)
            count += 1
        assert most <= AT_ONCE
        for client in clients:
            client.close()
        listener.close()
        return count

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        assert runner.run(turns()) < 16


def connected(listener: Listener) -> socket.socket:
    """Be in the queue of those who want to come in, without a turn of the loop."""
    where = listener.sockets[0].getsockname()
    client = socket.socket(listener.sockets[0].family)
    client.connect(where)
    return client


def test_an_entrance_is_told_apart_by_its_name() -> None:
    assert Entrance("a", 1) == Entrance("a", 1) != Entrance("b", 1)


async def test_who_is_cancelled_while_it_begins_to_accept_leaves_nobody_who_does(address: str) -> None:
    listener = kind(address).bind(address)
    beginning = asyncio.create_task(listener.accept(lambda entrance: Greeter))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    listener.close()
    with pytest.raises(OSError):  # noqa: PT011  # refused, or no such file
        await greeting(listener)


# -- several processes -------------------------------------------------------------------------------------


class Named(asyncio.Protocol):
    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self.name)
        transport.close()


def served(listener: Listener) -> Listener:
    """What another process makes of it."""
    return type(listener)(listener.address, [sock.dup() for sock in listener.sockets])


async def accept(listener: Listener, name: bytes, shares: set[int]) -> None:
    await listener.accept(lambda entrance: lambda: Named(name), shares)


async def test_every_process_gets_some_of_the_clients(address: str) -> None:
    bound = kind(address).bind(address, 2)
    each = [served(bound), served(bound)]
    await accept(each[0], b"0", {0})
    await accept(each[1], b"1", {1})
    found = [await greeting(bound) for _ in range(40)]
    if len(bound.sockets) > 1:
        assert set(found) == {b"0", b"1"}
    for listener in (*each, bound):
        listener.close()


async def test_clients_wait_for_the_next_process_when_one_goes(address: str) -> None:
    bound = kind(address).bind(address, 2)
    first = served(bound)
    await accept(first, b"first", {0, 1})
    assert await greeting(bound) == b"first"
    first.close()
    waiting = [asyncio.create_task(greeting(bound)) for _ in range(20)]
    await asyncio.sleep(0.01)
    second = served(bound)
    await accept(second, b"second", {0, 1})
    assert set(await asyncio.gather(*waiting)) == {b"second"}
    second.close()
    bound.close()


async def test_a_share_is_handed_from_one_process_to_another(address: str) -> None:
    bound = kind(address).bind(address, 2)
    one, two = served(bound), served(bound)
    await accept(one, b"one", {0, 1})
    await accept(two, b"two", {1})
    await accept(one, b"one", {0})
    await accept(one, b"one", set())
    await accept(two, b"two", {0, 1})
    assert {await greeting(bound) for _ in range(20)} == {b"two"}
    for listener in (one, two, bound):
        listener.close()


async def test_an_address_that_several_processes_serve_is_still_in_use_for_others(address: str) -> None:
    bound = kind(address).bind(address, 2)
    if bound.entrance.port:
        address = address.replace(":0", f":{bound.entrance.port}")
    for shares in (1, 2):
        with pytest.raises(ListenError, match=r"(right would be|expected) another p"):
            kind(address).bind(address, shares)
    bound.close()
