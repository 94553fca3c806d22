"""TCP addresses: what they may be, and what is told if they can't be had."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from proxy.listeners import ListenError, kind
from proxy.listeners.tcp import split
from tests.sockets import has_ipv6

from .test_listeners import greeting, opened

ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:80", "127.0.0.1", 80), ("[::1]:0", "::1", 0), ("my-host.x:65535", "my-host.x", 65535)],
)
def test_addresses(address: str, host: str, port: int) -> None:
    assert split(address) == (host, port)


@pytest.mark.parametrize(
    "address", ["", "80", ":80", "127.0.0.1", "127.0.0.1:", "h:65536", "h:-1", "::1:80", "[::1]", "[1]:80", "[:]:80",
                "a b:80", "http://h:80", "h:80/", "h:8\u0968"]
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"not an address; right would be"):
        kind(address).check(address)


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1:1", True), ("127.9.9.9:1", True), ("[::1]:1", True), ("x.localhost:1", True), ("0.0.0.0:1", False),
     ("[::]:1", False), ("10.0.0.1:1", False), ("myhost:1", False)],
)  # fmt: skip
def test_which_are_this_machine_s_own(address: str, local: bool) -> None:
    assert kind(address).is_local(address) is local


@ipv6
async def test_ipv6() -> None:
    listener = await opened("[::1]:0")
    assert listener.shown == f"http://[::1]:{listener.entrance.port}"
    assert await greeting(listener) == b"hello"
    listener.close()


@pytest.mark.parametrize("address", ["0.0.0.0:0", pytest.param("[::]:0", marks=ipv6)])
async def test_who_listens_everywhere_is_shown_here(address: str) -> None:
    listener = await opened(address)
    host = "[::1]" if "::" in address else "127.0.0.1"
    assert listener.shown == f"http://{host}:{listener.entrance.port}"
    assert await greeting(listener) == b"hello"
    listener.close()


@ipv6
async def test_ipv6_leaves_ipv4_alone() -> None:
    six = await opened("[::]:0")
    four = await opened(f"0.0.0.0:{six.entrance.port}")
    four.close()
    six.close()


async def test_an_address_of_another_machine() -> None:
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:8080 is not an address of this machine; right would be"):
        await opened("192.0.2.1:8080")


@pytest.mark.parametrize("host", ["x..y", "a" * 64, "no-such-host.invalid"])
async def test_a_host_that_nobody_knows(host: str) -> None:
    with pytest.raises(ListenError, match="the host can't be resolved; right would be"):
        await opened(f"{host}:8080")


@pytest.mark.parametrize(
    ("code", "text"),
    [(errno.EACCES, "wants privileges; right would be a port above 1023"),
     (errno.EADDRINUSE, "is in use by another program, maybe another countersign; expected another port"),
     (errno.ENOBUFS, os.strerror(errno.ENOBUFS))],
)  # fmt: skip
@pytest.mark.parametrize("method", ["bind", "listen"])
async def test_what_the_system_refuses(monkeypatch: pytest.MonkeyPatch, code: int, text: str, method: str) -> None:
    class Refusing(socket.socket):
        pass

    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    setattr(Refusing, method, refuse)
    monkeypatch.setattr("proxy.listeners.tcp.socket.socket", Refusing)
    with pytest.raises(ListenError, match=f"127.0.0.1:0 {text}"):
        await opened("127.0.0.1:0")


async def test_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported")

    monkeypatch.setattr("proxy.listeners.tcp.socket.socket", refuse)
    with pytest.raises(ListenError, match="that this machine does not have; right would be"):
        await opened("[::1]:0")
