"""Who may stay connected, who makes room, and how all of them end."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import HeadTooLarge, Overloaded, ProxyError, RequestTimeout
from proxy.gateway.connections import _SPARE, Connections, ConnectionSettings
from tests.doubles import HurriedClock, settle


class Client:
    """A connection that notes what is done to it."""

    def __init__(self, connections: Connections, *, has_begun: bool = False) -> None:
        self.connections = connections
        self.since = 0.0
        self.in_head = True
        self.served = 0
        self.has_begun = has_begun
        self.has_unsent = False
        self.fate: list[str | type[ProxyError]] = []

    def refuse(self, error: ProxyError) -> None:
        self.fate.append(type(error))
        self.connections.linger(self)

    def cut(self) -> None:
        self.fate.append("cut")

    def force_close(self) -> None:
        self.fate.append("force_close")
        if not self.has_unsent:
            self.connections.leave(self)

    def cancel(self) -> None:
        self.fate.append("cancel")


def crowd(**settings: object) -> Connections:
    return Connections(ConnectionSettings.model_validate(settings), HurriedClock())


def entered(connections: Connections, **options: bool) -> Client:
    client = Client(connections, **options)
    connections.enter(client)
    return client


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_one_that_waits_the_longest_makes_room() -> None:
    connections = crowd(connections=2)
    first, second = entered(connections), entered(connections)
    connections.wait(first)  # has just begun another head
    third = entered(connections)
    assert (first.fate, second.fate, third.fate) == ([], ["force_close"], [])
    assert len(connections) == 3  # until its descriptor is closed
    connections.leave(second)
    assert len(connections) == 2
    connections.close()


async def test_where_all_are_busy_the_new_one_is_refused() -> None:
    connections = crowd(connections=1)
    busy = entered(connections)
    connections.waiting.pop(busy)
    assert connections.busy == 1
    assert entered(connections).fate == [Overloaded]
    assert busy.fate == []
    connections.close()


@pytest.mark.parametrize("ends", ["refused while all are busy", "refused", "force_close"])
async def test_those_that_are_being_closed_count_and_the_oldest_of_them_make_room(ends: str) -> None:
    connections = crowd(connections=2)
    if ends == "refused while all are busy":
        for _ in range(2):
            connections.waiting.pop(entered(connections))
    clients = []
    for _ in range(100):
        client = entered(connections)
        client.has_unsent = True
        if ends == "refused":
            client.refuse(HeadTooLarge())
        clients.append(client)
        assert len(connections) <= 2 + _SPARE
    cut = [client.fate[-1:] == ["cut"] for client in clients]
    assert cut == sorted(cut, reverse=True)
    assert sum(cut) >= 100 - 2 - _SPARE
    connections.close()


async def test_one_that_is_being_closed_keeps_nobody_from_draining() -> None:
    connections = crowd()
    client = entered(connections)
    client.refuse(HeadTooLarge())
    assert (len(connections), connections.busy) == (1, 0)
    async with asyncio.timeout(5):
        await connections.drain(60)
    connections.close()


async def test_a_slow_head_is_told_so_and_a_silent_one_just_closed() -> None:
    connections = crowd(header_timeout="10ms")
    slow, silent = entered(connections, has_begun=True), entered(connections)
    await until(lambda: slow.fate and silent.fate)
    assert (slow.fate, silent.fate) == ([RequestTimeout], ["force_close"])
    connections.close()


async def test_a_crowd_that_is_late_is_not_ended_in_one_go() -> None:
    connections = crowd(header_timeout="10ms")
    late = [entered(connections) for _ in range(500)]
    await until(lambda: late[0].fate)
    assert late[-1].fate == []
    await until(lambda: late[-1].fate)
    assert all(client.fate == ["force_close"] for client in late)
    connections.close()


async def test_an_idle_connection_ends_after_keepalive() -> None:
    connections = crowd(keepalive="10ms")
    idle = entered(connections)
    idle.in_head = False
    busy = entered(connections)
    connections.waiting.pop(busy)
    await until(lambda: idle.fate)
    assert (idle.fate, busy.fate) == (["force_close"], [])
    connections.close()


async def test_draining_waits_for_the_busy_and_ends_the_idle() -> None:
    connections = crowd()
    idle, busy, silent, begun = (entered(connections, has_begun=begun) for begun in (False, False, False, True))
    idle.in_head = False
    connections.waiting.pop(busy)
    draining = asyncio.create_task(connections.drain(60))
    await until(lambda: idle.fate and silent.fate)
    assert (idle.fate, silent.fate) == (["force_close"], ["force_close"])
    assert (busy.fate, begun.fate, draining.done()) == ([], [], False)
    busy.in_head = False
    connections.wait(busy)  # its answer had promised that it may stay
    await until(lambda: busy.fate)
    connections.leave(begun)
    await draining


async def test_a_request_that_has_come_but_was_not_read_yet_is_no_idle_connection() -> None:
    connections = crowd()
    client = entered(connections)
    draining = asyncio.create_task(connections.drain(60))
    await settle()
    connections.waiting.pop(client)
    client.in_head = False
    await asyncio.sleep(0.05)
    assert client.fate == []
    connections.leave(client)
    await draining


async def test_who_outlives_the_grace_is_cancelled() -> None:
    connections = crowd()
    busy = entered(connections)
    connections.waiting.pop(busy)
    await connections.drain(0.01)
    assert busy.fate == ["cancel"]
    connections.close()
    assert busy.fate[1:] == ["cancel", "force_close"]


async def test_settled_waits_for_those_that_are_busy_now() -> None:
    connections = crowd()
    busy, other = entered(connections), entered(connections)
    connections.waiting.clear()
    settled = asyncio.create_task(connections.settled())
    await settle()
    assert not settled.done()
    busy.served += 1  # it may well be busy with the next one
    connections.leave(other)
    await settled
    connections.close()
