from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.transport import dial
from proxy.transport.dial import Address, dial_unix, interleave, race
from tests.transport.requests import until


def address(name: str, family: int = socket.AF_INET) -> Address:
    return (family, socket.SOCK_STREAM, 0, "", (name, 80))


V6A, V6B = (address(name, socket.AF_INET6) for name in ("6a", "6b"))
V4A, V4B = (address(name) for name in ("4a", "4b"))


class Network:
    """What happens at each address: a failure, a success, or nothing until told."""

    def __init__(self, **hosts: OSError | asyncio.Event | None) -> None:
        self._hosts = hosts
        self.tried: list[str] = []
        self.made: dict[str, socket.socket] = {}
        self.cancelled: list[str] = []

    async def attempt(self, where: Address) -> socket.socket:
        name = where[4][0]
        self.tried.append(name)
        outcome = self._hosts[f"h{name}"]
        if isinstance(outcome, asyncio.Event):
            try:
                await outcome.wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
        elif outcome is not None:
            raise outcome
        self.made[name] = socket.socket()
        return self.made[name]

    def closed(self, name: str) -> bool:
        return self.made[name].fileno() == -1


def play(monkeypatch: pytest.MonkeyPatch, network: Network) -> None:
    monkeypatch.setattr(dial, "_attempt", network.attempt)


def test_families_take_turns_and_the_first_choice_is_first() -> None:
    assert interleave([V6A, V6B, V4A, V4B]) == [V6A, V4A, V6B, V4B]
    assert interleave([V4A, V4B, V6A]) == [V4A, V6A, V4B]
    assert interleave([V4A]) == [V4A]


async def test_a_refusal_goes_on_to_the_next_address_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(h6a=ConnectionRefusedError(), h4a=None)
    play(monkeypatch, network)
    with await race([V6A, V4A], head_start=1000) as wire:
        assert wire is network.made["4a"]


async def test_a_silent_address_gets_company_and_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(h6a=asyncio.Event(), h4a=None)
    play(monkeypatch, network)
    with await race([V6A, V4A], head_start=0.001):
        assert network.tried == ["6a", "4a"]
        await asyncio.sleep(0)
        assert network.cancelled == ["6a"]


async def test_of_two_that_arrive_together_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    network = Network(h6a=gate, h4a=gate)
    play(monkeypatch, network)
    racing = asyncio.ensure_future(race([V6A, V4A], head_start=0.001))
    await until(lambda: not (len(network.tried) < 2))
    gate.set()
    with await racing as wire:
        await asyncio.sleep(0)
        assert [made is wire or made.fileno() == -1 for made in network.made.values()] == [True, True]


async def test_a_race_that_is_cancelled_leaves_nobody_running(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(h6a=asyncio.Event(), h4a=asyncio.Event())
    play(monkeypatch, network)
    racing = asyncio.ensure_future(race([V6A, V4A], head_start=0.001))
    await until(lambda: not (len(network.tried) < 2))
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    await asyncio.sleep(0)
    assert sorted(network.cancelled) == ["4a", "6a"]


async def test_of_several_failures_a_refusal_says_most(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, Network(h6a=OSError(101, "unreachable"), h4a=ConnectionRefusedError()))
    with pytest.raises(ConnectionRefusedError):
        await race([V6A, V4A])
    play(monkeypatch, Network(h6a=OSError(101, "unreachable"), h4a=OSError(113, "no route")))
    with pytest.raises(OSError, match="unreachable"):
        await race([V6A, V4A])


async def test_no_address_is_a_failure() -> None:
    with pytest.raises(OSError, match="no address"):
        await race([])


async def test_the_name_is_asked_for_and_the_socket_is_ready() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with await dial.dial("localhost", port) as wire:
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
