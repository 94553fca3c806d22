"""The load of slow heads, against servers that end them or don't; and the one who asks meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bench.load import LoadError
from bench.load.polite import Polite
from bench.load.slow import flooding

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def port() -> Iterator[int]:
    """A server that takes each client's first bytes for a request, and says so much of an answer as there is."""

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                slow = b"X-Slow" in client.recv(1 << 10)
                client.sendall(b"HTTP/1.1 408 Slow\r\n\r\n" if slow else _OK)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_it_is_told_when_all_are_there_and_what_became_of_them(port: int) -> None:
    with flooding(port, 5) as flood:
        assert flood.news()
        fates = flood.news()
    assert (len(fates.lives), fates.told, fates.left) == (5, 5, 0)


def test_where_nobody_listens_it_is_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with flooding(nobody.getsockname()[1], 1) as flood, pytest.raises(LoadError, match="could not connect"):
            flood.news()


def test_more_than_may_be_open_are_not_tried() -> None:
    with pytest.raises(LoadError, match="need as many open files; this machine allows"), flooding(1, 1 << 30):
        pass


def test_a_kept_connection_that_was_closed_is_replaced(port: int) -> None:
    one = Polite(port)
    rounds = iter(range(4))
    one.ask_until(lambda: next(rounds) == 3)
    assert one.errors == 0
    assert 0 < one.percentile(50) <= one.percentile(99)


def test_what_is_not_answered_is_counted() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        one = Polite(nobody.getsockname()[1])
        rounds = iter(range(2))
        one.ask_until(lambda: next(rounds) == 1)
    assert one.errors == 2
