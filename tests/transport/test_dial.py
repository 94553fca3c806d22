from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from proxy.transport import dial
from proxy.transport.dial import dial_unix, race
from proxy.transport.resolve import Address
from tests.transport.requests import until


def address(name: str, family: int = socket.AF_INET) -> Address:
    return (family, socket.SOCK_STREAM, 0, "", (name, 80))


V6A, V6B = (address(name, socket.AF_INET6) for name in ("6a", "6b"))
V4A, V4B = (address(name) for name in ("4a", "4b"))


class Network:
    """What happens at each address: a failure, a success, or nothing until an event is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **hosts: OSError | asyncio.Event | None) -> None:
        self._hosts = hosts
        self.tried: list[str] = []
        self.sockets: dict[str, socket.socket] = {}
        self.cancelled: list[str] = []
        # The loop's own is made of C, and can't be replaced.
        real = dial._Loop.__init__

        def patched(loop: Any, running: asyncio.AbstractEventLoop) -> None:
            real(loop, running)
            loop._loop = self

        monkeypatch.setattr(dial._Loop, "__init__", patched)

    async def sock_connect(self, wire: socket.socket, where: Any) -> None:
        name = where[0]
        self.tried.append(name)
        self.sockets[name] = wire
        outcome = self._hosts[f"h{name}"]
        if isinstance(outcome, asyncio.Event):
            try:
                await outcome.wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
        elif outcome is not None:
            raise outcome

    def open(self) -> list[str]:
        return [name for name, wire in self.sockets.items() if wire.fileno() != -1]


async def test_families_take_turns_and_the_first_choice_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ConnectionRefusedError()
    network = Network(monkeypatch, h6a=refused, h6b=refused, h4a=refused, h4b=refused)
    with pytest.raises(ConnectionRefusedError):
        await race([V6A, V6B, V4A, V4B])
    assert network.tried == ["6a", "4a", "6b", "4b"]
    assert network.open() == []


async def test_a_refusal_goes_on_to_the_next_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, h6a=ConnectionRefusedError(), h4a=None)
    with await race([V6A, V4A], head_start=1000) as wire:
        assert wire is network.sockets["4a"]
        assert network.open() == ["4a"]


async def test_a_silent_address_gets_company_and_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, h6a=asyncio.Event(), h4a=None)
    with await race([V6A, V4A], head_start=0.001):
        assert network.tried == ["6a", "4a"]
        assert network.cancelled == ["6a"]
        assert network.open() == ["4a"]


async def test_of_two_that_arrive_together_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    network = Network(monkeypatch, h6a=gate, h4a=gate)
    racing = asyncio.ensure_future(race([V6A, V4A], head_start=0.001))
    await until(lambda: not (len(network.tried) < 2))
    gate.set()
    with await racing as wire:
        assert [network.sockets[name] for name in network.open()] == [wire]


async def test_a_race_that_is_cancelled_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch, h6a=asyncio.Event(), h4a=asyncio.Event())
    racing = asyncio.ensure_future(race([V6A, V4A], head_start=0.001))
    await until(lambda: not (len(network.tried) < 2))
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    assert sorted(network.cancelled) == ["4a", "6a"]
    assert network.open() == []


async def test_of_several_failures_a_refusal_says_most(monkeypatch: pytest.MonkeyPatch) -> None:
    Network(monkeypatch, h6a=OSError(101, "unreachable"), h4a=ConnectionRefusedError())
    with pytest.raises(ConnectionRefusedError):
        await race([V6A, V4A])
    Network(monkeypatch, h6a=OSError(101, "unreachable"), h4a=OSError(113, "no route"))
    with pytest.raises(OSError, match="unreachable"):
        await race([V6A, V4A])


async def test_without_a_descriptor_the_failure_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", full)
    try:
        with pytest.raises(OSError, match="Too many") as caught:
            await race([V6A, V4A])
    finally:
        monkeypatch.undo()
    assert caught.value.errno == errno.EMFILE


async def test_no_address_is_a_failure() -> None:
    with pytest.raises(OSError, match="no address"):
        await race([])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_socket_is_ready(host: str) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with await dial.dial(host, port) as wire:
        assert wire.getpeername()[1] == port
        assert not wire.getblocking()
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    server.close()


@pytest.mark.parametrize("name", ["a" * 70 + ".test", "a..b"])
async def test_what_is_no_name_is_not_found(name: str) -> None:
    with pytest.raises(socket.gaierror):
        await dial.dial(name, 80)


async def test_a_unix_socket_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await dial_unix(str(tmp_path / "missing"))
