"""Single requests over sockets of one's own: idle connections, large bodies, the first answer."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from bench.load import LoadError

_PIECE = 1 << 20
_PATIENCE = 120.0  # seconds


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Connect to a port of 127.0.0.1 until the end of the block.

    Raises:
        LoadError: nobody accepts, or the connection breaks.

    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as sock:
            yield sock
    except OSError as failure:
        raise LoadError(f"the connection broke: {failure}") from None


def ask(sock: socket.socket, path: str = "/") -> None:
    """Send a GET over a connection, and read its small answer whole.

    Raises:
        LoadError: the answer is no 200 with a length.

    """
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode())
    head, body = read_head(sock)
    whole = length(head)
    missing = whole - len(body)
    while missing > 0 and (piece := sock.recv(_PIECE)):
        missing -= len(piece)
    if missing or not whole:
        raise LoadError(f"an answer of {whole} bytes came, and {missing} of them did not")


def download(port: int, path: str, expected: int) -> None:
    """Read an answer of `expected` bytes, or a little more where it came in chunks.

    Raises:
        LoadError: it was no 200, or shorter.

    """
    buffer = bytearray(_PIECE)
    with connected(port) as sock:
        sock.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())
        count = len(read_head(sock)[1])
        while got := sock.recv_into(buffer):
            count += got
    if count < expected:
        raise LoadError(f"{count} of {expected} bytes came")


def upload(port: int, path: str, size: int) -> None:
    """Send `size` bytes with Content-Length; the answer's body must be their number.

    Raises:
        LoadError: the answer is another one.

    """
    piece = memoryview(bytes(_PIECE))
    with connected(port) as sock:
        head = b"PUT %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        sock.sendall(head % (path.encode(), size))
        for start in range(0, size, _PIECE):
            sock.sendall(piece[: size - start])
        answer = read_head(sock)[1]
        while got := sock.recv(_PIECE):
            answer += got
    if str(size).encode() not in answer.split():  # there may be chunks around it
        raise LoadError(f"{size} bytes were sent; the API got {answer[:100]!r}")


def read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    """Read the head of an answer, and return it with what came of the body.

    Raises:
        LoadError: it is no 200, or none.

    """
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(_PIECE)
        if not piece:
            raise LoadError(f"the connection ended within a head: {data[:100]!r}")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200" not in head.split(b"\r\n", 1)[0]:
        raise LoadError(f"the answer was {head.splitlines()[0].decode('latin-1')}")
    return head, body


def length(head: bytes) -> int:
    """Return the Content-Length of an answer's head.

    Raises:
        LoadError: it has none.

    """
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    if found is None:
        raise LoadError("the answer has no Content-Length")
    return int(found[1])
