"""Where the configuration wants to be listened."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest

from proxy.config import Settings, load
from proxy.listeners import ListenError
from proxy.places import ADMIN, PROXY, bind, shown, status_url, wanted


def settings(*own: str, **server: Any) -> Settings:
    routes = {f"r{number}": {"upstream": "https://x", "listen": address} for number, address in enumerate(own)}
    return load(overrides={"server": server, "routes": {"a": {"upstream": "https://x"}, **routes}}, use_file=False)


def test_all_addresses_in_the_order_in_which_they_are_told() -> None:
    found = wanted(settings("127.0.0.1:3", listen=["127.0.0.1:2", "127.0.0.1:1"], admin="127.0.0.1:4"))
    assert found == [(PROXY, "127.0.0.1:2"), (PROXY, "127.0.0.1:1"), (PROXY, "127.0.0.1:3"), (ADMIN, "127.0.0.1:4")]


def test_without_an_admin_listener() -> None:
    assert wanted(settings(admin="")) == [(PROXY, "127.0.0.1:8080")]


def test_several_processes_share_what_clients_use_but_not_the_admin_listener() -> None:
    places = [(PROXY, "127.0.0.1:0"), (ADMIN, "127.0.0.1:0")]
    bound = bind(places, 3)
    try:
        assert [len(bound[place].sockets) for place in places] == [3 if sys.platform == "linux" else 1, 1]
        assert shown(bound) == [bound[places[0]].shown]
        configured = settings(admin="127.0.0.1:0", admin_token="hush")
        assert status_url(bound, configured, "made-up") == bound[places[1]].shown + "/"
        assert status_url(bound, settings(admin="127.0.0.1:0"), "made-up") == bound[places[1]].shown + "/?token=made-up"
        assert status_url(bound, settings(admin=""), "made-up") is None
    finally:
        for listener in bound.values():
            listener.close()


def test_all_or_nothing() -> None:
    with socket.socket() as free, socket.socket() as taken:
        for sock in (free, taken):
            sock.bind(("127.0.0.1", 0))
        taken.listen()
        first, second = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (free, taken))
        free.close()
        with pytest.raises(ListenError, match=f"{second} is in use"):
            bind([(PROXY, first), (PROXY, second)])
    (listener,) = bind([(PROXY, first)]).values()
    listener.close()
