"""Whose process listens at the other end."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from proxy.errors import UntrustedUpstream
from proxy.transport import HTTP11Transport, peers
from proxy.transport.dial import dial
from proxy.transport.peers import trusted
from proxy.transport.resolve import Address
from tests.transport.requests import OK, fetch, get
from tests.transport.upstream import Upstream, always

OTHER, THIRD = 65534, 12345  # users

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who listens on a port"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user"),
]


@contextmanager
def as_user(user: int) -> Iterator[None]:
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


def resolved(*hosts: str, port: int = 0) -> list[Address]:
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    return [(families[ip_address(host).version], socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]


class Listening:
    """Sockets of users on the same port of several addresses."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.port = 0

    def add(self, host: str, user: int, *, both: bool = False) -> None:
        with as_user(user):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._stack.enter_context(sock)
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        sock.bind((host, self.port or self._free_port()))
        sock.listen()
        self.port = sock.getsockname()[1]

    def _free_port(self) -> int:
        """Return a port that is free on both loopback addresses."""
        while True:
            held = socket.create_server(("127.0.0.1", 0))
            port: int = held.getsockname()[1]
            held.close()
            with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(("::1", port))
                return port

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    yield made
    made.close()


def hosts(listening: Listening, *names: str) -> list[str]:
    return [str(each[4][0]) for each in trusted(resolved(*names), listening.port)]


BOTH = ("::1", "127.0.0.1")


@pytest.mark.parametrize("users", [(0, 0), (OTHER, OTHER)])
def test_both_addresses_count_if_the_same_user_listens_there(listening: Listening, users: tuple[int, int]) -> None:
    for host, user in zip(BOTH, users, strict=True):
        listening.add(host, user)
    assert hosts(listening, *BOTH) == [*BOTH]


@pytest.mark.parametrize(("six", "four", "left"), [(OTHER, 0, "127.0.0.1"), (0, OTHER, "::1")])
def test_another_user_on_one_of_them_is_not_connected_to(listening: Listening, six: int, four: int, left: str) -> None:
    listening.add("::1", six)
    listening.add("127.0.0.1", four)
    assert hosts(listening, *BOTH) == [left]


def test_of_two_other_users_none_is_connected_to(listening: Listening) -> None:
    listening.add("::1", OTHER)
    listening.add("127.0.0.1", THIRD)
    with pytest.raises(UntrustedUpstream, match="expected the address that is meant, such as ::1, in place of the"):
        hosts(listening, *BOTH)
    assert hosts(listening, "127.0.0.1") == ["127.0.0.1"]  # whoever names one means it


@pytest.mark.parametrize("anywhere", ["0.0.0.0", "::"])
def test_who_listens_on_all_addresses_counts_where_nobody_else_does(listening: Listening, anywhere: str) -> None:
    listening.add("::1" if anywhere == "0.0.0.0" else "127.0.0.1", OTHER)
    listening.add(anywhere, 0)
    assert hosts(listening, *BOTH) == ["127.0.0.1" if anywhere == "0.0.0.0" else "::1"]


def test_one_that_listens_for_both_families_alone(listening: Listening) -> None:
    listening.add("::", OTHER, both=True)
    assert hosts(listening, *BOTH) == [*BOTH]


def test_what_can_t_be_known_is_left_as_it_is(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    listening.add("127.0.0.1", OTHER)
    assert hosts(listening, *BOTH) == [*BOTH]  # nobody listens on the other one now
    listening.add("::1", 0)
    assert hosts(listening, "::1", "192.0.2.1") == ["::1", "192.0.2.1"]
    monkeypatch.setattr(peers, "_TABLES", (Path("/missing"),))
    assert hosts(listening, *BOTH) == [*BOTH]


async def test_a_name_leads_to_our_own_listener(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    listening.add("127.0.0.1", 0)
    listening.add("::1", OTHER)
    found = resolved(*BOTH, port=listening.port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with await dial("localhost", listening.port) as wire:
        assert wire.getpeername()[0] == "127.0.0.1"


@pytest.mark.parametrize("user", [0, OTHER])
async def test_a_unix_socket_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.chdir(tmp_path)
    upstream = Upstream(always(OK), uds=Path("s"))
    listen = socket.socket.listen

    def listening_as(sock: socket.socket, *more: int) -> None:
        with as_user(user):
            listen(sock, *more)

    monkeypatch.setattr(socket.socket, "listen", listening_as)
    async with upstream:
        trusting = HTTP11Transport(httpx.URL("http://api.test"), uds="s", any_user=True)
        assert (await fetch(trusting, get())).body == b"hello"
        await trusting.aclose()
        transport = HTTP11Transport(httpx.URL("http://api.test"), uds="s")
        if user == 0:
            assert (await fetch(transport, get())).body == b"hello"
        else:
            text = f"user {OTHER} listens on the unix socket; expected root or user 0, or insecure = true"
            with pytest.raises(UntrustedUpstream, match=text):
                await fetch(transport, get())
        assert transport.open == int(user == 0)
        await transport.aclose()
