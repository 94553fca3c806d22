"""An answer as bytes: its head, its framing (RFC 9112, section 6), and its way to a client that may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

import httpx

from proxy.errors import ProxyError
from proxy.gateway import Answer, RawHeaders, Story
from proxy.gateway.duplex import Wire, both_ways
from proxy.transport import Repeated

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS_LINES = {
    (status, told): b"HTTP/1.1 %d %b\r\n" % (status, reason)
    for status, reason in _REASONS.items()
    for told in (reason, b"")
}  # most answers have the usual reason
_LAST_CHUNK = b"0\r\n\r\n"


class Framing(NamedTuple):
    """How the end of an answer's body is told.

    Attributes:
        keep_alive: whether the connection serves another request afterwards.

    """

    has_body: bool
    chunked: bool
    keep_alive: bool


# By whether the connection stays; made once, since every answer has one of them.
_NO_BODY = (
    Framing(has_body=False, chunked=False, keep_alive=False),
    Framing(has_body=False, chunked=False, keep_alive=True),
)
_PLAIN = (
    Framing(has_body=True, chunked=False, keep_alive=False),
    Framing(has_body=True, chunked=False, keep_alive=True),
)
_CHUNKED = (
    Framing(has_body=True, chunked=True, keep_alive=False),
    Framing(has_body=True, chunked=True, keep_alive=True),
)


def framing(answer: Answer, method: str, version: tuple[int, int], *, keep_alive: bool) -> Framing:
    """Decide how an answer is framed for a client of `version`."""
    keep_alive = keep_alive and not answer.close and answer.duplex is None
    status = answer.status
    if method == "HEAD" or status == 204 or status == 304 or status < 200:  # the hot path
        return _NO_BODY[keep_alive]
    if answer.has_length or isinstance(answer.body, bytes):
        return _PLAIN[keep_alive]
    return _CHUNKED[keep_alive] if version >= (1, 1) else _PLAIN[False]


def _lines(fields: RawHeaders) -> bytes:
    if type(fields) is not Repeated:
        return b"".join([b"%b: %b\r\n" % field for field in fields])
    lines: bytes | None = fields.made_by(_lines)
    if lines is None:
        lines = b"".join([b"%b: %b\r\n" % field for field in fields])
        fields.made = _lines, lines
    return lines


def head_bytes(answer: Answer, framed: Framing, version: tuple[int, int]) -> bytes:
    """Return the status line and the fields."""
    status = answer.status
    line = _STATUS_LINES.get((status, answer.reason)) or b"HTTP/1.1 %d %b\r\n" % (status, answer.reason)
    lines = [line, _lines(answer.headers)]
    if status in (101, 204):
        # RFC 9110, section 8.6: a length here is a lie, and some clients wait for it.
        lines[1] = _lines([field for field in answer.headers if field[0].lower() != b"content-length"])
    elif isinstance(answer.body, bytes) and status != 304 and not answer.has_length:
        lines.append(b"Content-Length: %d\r\n" % len(answer.body))
    if framed.chunked:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    if answer.duplex is not None:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif not framed.keep_alive:
        lines.append(b"Connection: close\r\n")
    elif version < (1, 1):
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def begin(wire: Wire, answer: Answer, framed: Framing, head: bytes, story: Story) -> bool:
    """Write the head, and in the same write what there is of the body; return whether that was the end of the body.

    It never waits for more: a stream of events has a head long before it has an event.
    """
    body = answer.body
    if answer.duplex is not None or not framed.has_body:
        wire.write(head)
        return isinstance(body, bytes)
    if isinstance(body, bytes):
        piece, complete = body, True
    else:
        ready: Callable[[], tuple[bytes, bool]] | None = getattr(body, "ready", None)
        piece, complete = ready() if ready is not None else (b"", False)
    story.returned = len(piece)
    if framed.chunked:
        piece = (_chunk(piece) if piece else b"") + (_LAST_CHUNK if complete else b"")
    wire.write(head + piece)
    return complete


async def go_on(wire: Wire, answer: Answer, framed: Framing, story: Story) -> None:
    """Write the rest of an answer that has begun, as it comes.

    Raises:
        ConnectionError: the client has gone.

    """
    if answer.duplex is not None:
        await both_ways(wire, answer.duplex, story)
    elif framed.has_body:
        assert not isinstance(answer.body, bytes)
        await _stream(wire, answer.body, framed, story, answer.deadline)


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
        story.outcomes = (*story.outcomes[:-1], story.error)  # it had been counted by its status
        wire.abort()
        raise ConnectionAbortedError from failure
    except BaseException:
        # Whatever it was: a cut answer never looks complete.
        wire.abort()
        raise
    if framed.chunked:
        wire.write(_LAST_CHUNK)
