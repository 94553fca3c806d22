"""Requests as the spine makes them, and answers as it reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import httpx

URL = httpx.URL("http://upstream.test/")
HOST = (b"Host", b"upstream.test")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop turn until something holds that has no event."""
    while not condition():
        await asyncio.sleep(0)  # there is nothing to wait on


class Pieces(httpx.AsyncByteStream):
    """A body in pieces; counts its readers and knows whether they were closed."""

    def __init__(self, pieces: Iterable[bytes | BaseException | asyncio.Event]) -> None:
        self._pieces = list(pieces)
        self.opened = self.closed = self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.opened += 1
        try:
            for piece in self._pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                    continue
                self.given += len(piece)
                yield piece
        finally:
            self.closed += 1


class Whole(httpx.AsyncByteStream):
    """A body that is in memory, as the spine's."""

    def __init__(self, body: bytes | None) -> None:
        self._body = body

    def whole(self) -> bytes | None:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body is not None:
            raise AssertionError("not asked for pieces")
        yield b""


def get(target: bytes = b"/", *fields: tuple[bytes, bytes], method: str = "GET", url: httpx.URL = URL) -> httpx.Request:
    """A request without a body."""
    return httpx.Request(method, url, headers=[HOST, *fields], stream=Pieces([]), extensions={"target": target})


def post(stream: httpx.AsyncByteStream, length: int | None, *fields: tuple[bytes, bytes]) -> httpx.Request:
    """A request with a body; chunked if it has no length."""
    framing = (b"Transfer-Encoding", b"chunked") if length is None else (b"Content-Length", str(length).encode())
    return httpx.Request("POST", URL, headers=[HOST, framing, *fields], stream=stream, extensions={"target": b"/"})


@dataclass(frozen=True)
class Seen:
    """An answer that was read to its end."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes


async def read(response: httpx.Response) -> Seen:
    """Read an answer, and be done with it."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    body = b"".join([piece async for piece in stream])
    await stream.aclose()
    return Seen(response.status_code, response.headers.raw, body)


async def fetch(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> Seen:
    """Send a request and read its answer."""
    return await read(await transport.handle_async_request(request))
