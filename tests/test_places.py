"""Where the configuration wants to be listened."""

from __future__ import annotations

import errno
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proxy import places, runfile
from proxy.config import ServerSettings, Settings, load
from proxy.listeners import Listener, ListenError
from proxy.places import ADMIN, PROXY, SPARE, Place, bind, shown, status_url, wanted


def settings(*own: str, **server: Any) -> Settings:
    routes = {f"r{number}": {"upstream": "https://x", "listen": address} for number, address in enumerate(own)}
    return load(overrides={"server": server, "routes": {"a": {"upstream": "https://x"}, **routes}}, use_file=False)


def unconfigured(address: str) -> Settings:
    """A configuration without ``server.admin``, as if `address` were its default."""
    found = settings(listen=["127.0.0.1:0"])
    server = ServerSettings.model_construct({"listen"}, **{**dict(found.server), "admin": address})
    return found.model_copy(update={"server": server})


@contextmanager
def taken() -> Iterator[str]:
    """An address that another program listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@contextmanager
def bound(
    configured: Settings, already: dict[Place, Listener] | None = None, shares: int = 1, texts: list[str] | None = None
) -> Iterator[dict[Place, Listener]]:
    said: list[str] = [] if texts is None else texts
    opened = bind(configured, said.append, already or {}, shares)
    try:
        yield opened
    finally:
        for listener in opened.values():
            listener.close()


def test_all_addresses_in_the_order_in_which_they_are_told() -> None:
    found = wanted(settings("127.0.0.1:3", listen=["127.0.0.1:2", "127.0.0.1:1"], admin="127.0.0.1:4"))
    assert found == [(PROXY, "127.0.0.1:2"), (PROXY, "127.0.0.1:1"), (PROXY, "127.0.0.1:3"), (ADMIN, "127.0.0.1:4")]


def test_without_an_admin_listener() -> None:
    assert wanted(settings(admin="")) == [(PROXY, "127.0.0.1:8080"), (PROXY, "[::1]:8080")]


def test_several_processes_share_what_clients_use_but_not_the_admin_listener() -> None:
    configured = settings(listen=["127.0.0.1:0"], admin="127.0.0.1:0", admin_token="hush")
    with bound(configured, shares=3) as opened:
        (clients, admin) = opened.values()
        assert list(opened) == [(PROXY, "127.0.0.1:0"), (ADMIN, "127.0.0.1:0")]
        assert [len(each.sockets) for each in (clients, admin)] == [3 if sys.platform == "linux" else 1, 1]
        assert shown(opened) == [clients.shown]
        assert status_url(opened, configured, "made-up") == f"{admin.shown}/"
        assert status_url(opened, settings(admin="127.0.0.1:0"), "made-up") == f"{admin.shown}/?token=made-up"
        assert status_url({(PROXY, "x"): clients}, configured, "made-up") is None


def test_all_or_nothing() -> None:
    with taken() as first:
        pass
    with taken() as second, pytest.raises(ListenError, match=f"{second} is in use"):
        bind(settings(listen=[first, second], admin=""), pytest.fail)
    with bound(settings(listen=[first], admin="")) as opened:
        assert len(opened) == 1


# -- the default -------------------------------------------------------------------------------------------


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A configuration without ``server.listen``, as if a free port were its default, of which ::1 has the same."""
    for _ in range(100):
        with taken() as address, socket.socket(socket.AF_INET6) as six:
            port = address.rpartition(":")[2]
            try:
                six.bind(("::1", int(port)))
            except OSError:
                continue
        found = settings(admin="")
        both = (address, f"[::1]:{port}")
        monkeypatch.setattr(places, "DEFAULT_LISTEN", both)
        server = ServerSettings.model_construct({"admin"}, **{**dict(found.server), "listen": both})
        return found.model_copy(update={"server": server})
    pytest.skip("there is no port that is free on both addresses")


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_by_default_both_loopback_addresses_are_listened_on(default: Settings) -> None:
    with bound(default) as opened:
        port = default.server.listen[0].rpartition(":")[2]
        assert shown(opened) == [f"http://127.0.0.1:{port}", f"http://[::1]:{port}"]


def test_another_user_who_has_taken_one_of_them_is_told(default: Settings) -> None:
    with socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", int(default.server.listen[0].rpartition(":")[2])))
        six.listen()
        with pytest.raises(ListenError, match=r"^server\.listen: \[::1\]:\d+ is in use by another program"):
            bind(default, pytest.fail)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_where_there_is_no_ipv6_the_default_is_one(
    default: Settings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = socket.socket

    def without(family: int = socket.AF_INET, *more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, "none")
        return real(family, *more)

    monkeypatch.setattr(socket, "socket", without)
    with bound(default) as opened:
        assert list(opened) == [(PROXY, default.server.listen[0])]
        with bound(default, opened) as more:  # a reload
            assert more == {}
    with pytest.raises(ListenError, match=r"^server\.listen: \[::1\]:\d+ is "):
        bind(settings(listen=default.server.listen, admin=""), pytest.fail)


# -- addresses that are taken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("server.listen", " (--listen ADDRESS, or server.listen, sets it)"),
        ("server.admin", ' (--admin ADDRESS, or server.admin, sets it; "" for no admin listener)'),
        ("routes.r0.listen", ""),
    ],
)
def test_a_configured_address_that_is_taken_is_told_by_its_key(key: str, hint: str) -> None:
    with taken() as address:
        configured = {
            "server.listen": lambda: settings(listen=[address]),
            "server.admin": lambda: settings(listen=["127.0.0.1:0"], admin=address),
            "routes.r0.listen": lambda: settings(address, listen=["127.0.0.1:0"]),
        }[key]()
        with pytest.raises(ListenError) as caught:
            bind(configured, pytest.fail)
    text = f"{key}: {address} is in use by another program, maybe another countersign; expected another port, "
    assert str(caught.value) == f"{text}or 0 for any free one{hint}"


def test_an_admin_address_that_was_not_configured_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[tuple[object, str]] = []
    monkeypatch.setattr(runfile, "write", lambda config, address: notes.append((config, address)))
    texts: list[str] = []
    with taken() as address, bound(unconfigured(address), texts=texts) as opened:
        assert list(opened) == [(PROXY, "127.0.0.1:0"), SPARE]
        actual = opened[SPARE].shown.removeprefix("http://")
        assert status_url(opened, unconfigured(address), "t") == f"http://{actual}/?token=t"
        (text,) = texts
        assert re.match(f"{address} is in use by another program.*; the admin listener is on {actual} instead", text)
        assert "--admin ADDRESS" in text
        assert notes == [(None, actual)]


def test_one_that_is_free_is_used() -> None:
    with taken() as address:
        pass
    with bound(unconfigured(address)) as opened:
        assert list(opened) == [(PROXY, "127.0.0.1:0"), (ADMIN, address)]


def test_a_reload_leaves_it_where_it_is() -> None:
    with taken() as address, bound(unconfigured(address)) as opened:
        assert wanted(unconfigured(address), opened) == list(opened)
        with bound(unconfigured(address), opened) as more:
            assert more == {}
        # One that has been configured meanwhile is another one.
        configured = settings(listen=["127.0.0.1:0"], admin=address)
        assert wanted(configured, opened) == [(PROXY, "127.0.0.1:0"), (ADMIN, address)]
        with pytest.raises(ListenError, match=r"server\.admin: "):
            bind(configured, pytest.fail, opened)


def test_a_reload_that_does_not_configure_it_any_more_makes_way_too() -> None:
    before = settings(listen=["127.0.0.1:0"], admin="")
    with taken() as address, bound(before) as opened, bound(unconfigured(address), opened) as more:
        assert list(more) == [SPARE]
        assert wanted(unconfigured(address), opened | more) == [(PROXY, "127.0.0.1:0"), SPARE]


def test_without_any_port_there_is_no_admin_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "SPARE", (ADMIN, "192.0.2.1:0"))
    texts: list[str] = []
    with taken() as address, bound(unconfigured(address), texts=texts) as opened:
        assert list(opened) == [(PROXY, "127.0.0.1:0")]
    assert "; there is no admin listener (" in texts[0]


def test_the_default_is_in_nobody_s_way() -> None:
    own = {"upstream": "https://x", "listen": "127.0.0.1:8081"}
    load(
        overrides={"server": {"listen": ["127.0.0.1:8081"]}, "routes": {"a": {"upstream": "https://x"}}}, use_file=False
    )
    load(overrides={"routes": {"a": own}}, use_file=False)
