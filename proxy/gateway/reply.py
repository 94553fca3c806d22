"""An answer as bytes: its head, its framing (RFC 9112, section 6), and its way to a client that may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from proxy.errors import ProxyError
from proxy.gateway import Answer, Story
from proxy.gateway.duplex import Wire, both_ways

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in _REASONS.items()
}  # most answers have the usual reason
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """How the end of an answer's body is told.

    Attributes:
        keep_alive: whether the connection serves another request afterwards.

    """

    has_body: bool
    chunked: bool
    keep_alive: bool


def framing(answer: Answer, method: str, version: tuple[int, int], *, keep_alive: bool) -> Framing:
    """Decide how an answer is framed for a client of `version`."""
    keep_alive = keep_alive and not answer.close and answer.duplex is None
    if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
        return Framing(has_body=False, chunked=False, keep_alive=keep_alive)
    if isinstance(answer.body, bytes) or _has_length(answer.headers):
        return Framing(has_body=True, chunked=False, keep_alive=keep_alive)
    chunked = version >= (1, 1)
    return Framing(has_body=True, chunked=chunked, keep_alive=keep_alive and chunked)


def _has_length(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-length" for name, _ in headers)


def head_bytes(answer: Answer, framed: Framing, version: tuple[int, int]) -> bytes:
    """Return the status line and the fields."""
    if answer.reason == _REASONS.get(answer.status, b"") or not answer.reason:
        line = _STATUS_LINES.get(answer.status) or b"HTTP/1.1 %d \r\n" % answer.status
    else:
        line = b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)
    lines = [name + b": " + value for name, value in answer.headers]
    if answer.status in (101, 204):
        # RFC 9110, section 8.6: a length here is a lie, and some clients wait for it.
        lines = [line for line in lines if not line[:15].lower().startswith(b"content-length:")]
    elif isinstance(answer.body, bytes) and answer.status != 304 and not _has_length(answer.headers):
        lines.append(b"Content-Length: %d" % len(answer.body))
    if framed.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if answer.duplex is not None:
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    elif not framed.keep_alive:
        lines.append(b"Connection: close")
    elif version < (1, 1):
        lines.append(b"Connection: keep-alive")
    lines += [b"", b""]
    return line + b"\r\n".join(lines)


async def send(wire: Wire, answer: Answer, framed: Framing, head: bytes, story: Story) -> None:
    """Write an answer, as its body comes.

    Raises:
        ConnectionError: the client has gone.

    """
    if isinstance(answer.body, bytes):
        body = answer.body if framed.has_body else b""
        wire.write(head + body)
        story.returned = len(body)
    elif answer.duplex is not None:
        wire.write(head)
        await both_ways(wire, answer.duplex, story)
    elif not framed.has_body:
        wire.write(head)
    elif not _write_whole(wire, answer.body, framed, head, story):
        await _stream(wire, answer.body, framed, story, answer.deadline)
    story.complete = True
    await wire.drain()


def _write_whole(wire: Wire, body: httpx.AsyncByteStream, framed: Framing, head: bytes, story: Story) -> bool:
    """Write the head, and in the same write what has arrived of the body; return whether that was all of it.

    It never waits for more: a stream of events has a head long before it has an event.
    """
    ready: Callable[[], tuple[bytes, bool]] | None = getattr(body, "ready", None)
    piece, complete = ready() if ready is not None else (b"", False)
    story.returned = len(piece)
    if framed.chunked:
        wire.write(head + (_chunk(piece) if piece else b"") + (_LAST_CHUNK if complete else b""))
    else:
        wire.write(head + piece)
    return complete


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


async def _stream(
    wire: Wire, body: httpx.AsyncByteStream, framed: Framing, story: Story, deadline: float | None
) -> None:
    try:
        async with asyncio.timeout_at(deadline):
            await wire.drain()
            async for piece in body:
                if piece:
                    story.returned += len(piece)
                    wire.write(_chunk(piece) if framed.chunked else piece)
                    await wire.drain()
    except (ProxyError, TimeoutError) as failure:
        story.error = getattr(failure, "error", "connection_read_timeout")
        story.failure = getattr(failure, "detail", "the answer was not complete within timeout.total")
        wire.abort()
        raise ConnectionAbortedError from failure
    except BaseException:
        # Whatever it was: a cut answer never looks complete.
        wire.abort()
        raise
    if framed.chunked:
        wire.write(_LAST_CHUNK)
