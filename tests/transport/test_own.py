"""Which connections lead back to who made them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.errors import LoopDetected
from proxy.transport.own import OwnAddresses

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")


@contextmanager
def listening(host: str, port: int = 0, path: str = "") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as made:
        made.bind(path or (host, port))
        made.listen()
        yield made


def leads_back(own: OwnAddresses, host: str, port: int) -> bool:
    with socket.create_connection((host, port)) as wire:
        try:
            own.refuse(wire, port)
        except LoopDetected:
            return True
    return False


@pytest.mark.parametrize(
    ("own", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        pytest.param("127.0.0.2", "127.0.0.2", marks=LINUX),
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("0.0.0.0", "127.9.9.9", marks=LINUX),
    ],
)
def test_what_leads_back(own: str, host: str) -> None:
    addresses = OwnAddresses()
    with listening(own) as sock:
        port = sock.getsockname()[1]
        assert not leads_back(addresses, host, port)
        addresses.are([sock])
        assert leads_back(addresses, host, port)
        addresses.are([])
        assert not leads_back(addresses, host, port)


@LINUX
def test_the_same_port_of_another_address_does_not() -> None:
    addresses = OwnAddresses()
    with listening("127.0.0.1") as own, listening("127.0.0.2", own.getsockname()[1]) as other:
        addresses.are([own])
        assert not leads_back(addresses, *other.getsockname())


def test_another_machine_on_the_port_of_all_our_addresses_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = OwnAddresses()
    with listening("0.0.0.0") as own, socket.create_connection(("127.0.0.1", own.getsockname()[1])) as wire:
        addresses.are([own])
        monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("192.0.2.1", 80))
        addresses.refuse(wire, own.getsockname()[1])


def test_a_connection_that_has_ended_tells_nothing() -> None:
    addresses = OwnAddresses()
    with listening("127.0.0.1") as own, socket.socket() as wire:
        addresses.are([own])
        addresses.refuse(wire, own.getsockname()[1])


def test_unix_sockets_by_any_name(tmp_path: Path) -> None:
    addresses = OwnAddresses()
    link, other = tmp_path / "link", tmp_path / "other"
    with listening("", path=str(tmp_path / "own")) as own, listening("", path=str(other)):
        link.symlink_to("own")
        addresses.are([own])
        for path in ("own", "link"):
            with pytest.raises(LoopDetected):
                addresses.refuse_path(str(tmp_path / path))
        for path in ("other", "missing"):
            addresses.refuse_path(str(tmp_path / path))
