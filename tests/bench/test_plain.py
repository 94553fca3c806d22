"""Answers read by hand, over real sockets: what is no whole 200 is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load import LoadError
from bench.load.plain import ask, connected, download, upload


@contextmanager
def api(answer: bytes, request_size: int = 0) -> Iterator[int]:
    """A server for one connection, that reads a head and `request_size` bytes more, answers and closes."""

    def serve() -> None:
        client, _ = server.accept()
        with client:
            data = b""
            while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < request_size:
                data += client.recv(1 << 20)
            client.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_a_small_answer_is_read_whole() -> None:
    with api(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc") as port, connected(port) as sock:
        ask(sock)


@pytest.mark.parametrize(("answer", "told"), [
    (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc", "502 Bad Gateway"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", "1 of them did not"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "an answer of 0 bytes"),
    (b"HTTP/1.1 200 OK\r\n\r\nabc", "no Content-Length"),
    (b"HTTP/1.1 200", "within a head"),
])  # fmt: skip
def test_a_bad_one_is_told(answer: bytes, told: str) -> None:
    with api(answer) as port, pytest.raises(LoadError, match=told), connected(port) as sock:
        ask(sock)


def test_a_download_must_be_whole() -> None:
    with api(b"HTTP/1.1 200 OK\r\n\r\nabc") as port:
        download(port, "/", 3)
    with api(b"HTTP/1.1 200 OK\r\n\r\nab") as port, pytest.raises(LoadError, match="2 of 3 bytes"):
        download(port, "/", 3)


def test_an_upload_must_arrive_whole() -> None:
    with api(b"HTTP/1.1 200 OK\r\n\r\n2000000\n", 2_000_000) as port:
        upload(port, "/", 2_000_000)
    with api(b"HTTP/1.1 200 OK\r\n\r\n17\n", 20) as port, pytest.raises(LoadError, match="the API got b'17"):
        upload(port, "/", 20)
