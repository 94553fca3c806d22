"""What a client sends, on its way to the parser: one message at a time, of limited size, and not what needs no parser.

The parser is given a message only when the request before it has completed. What a client sends ahead is held until
then, and is a head like any other from then on. So it is always known where a message begins, and a method that the
parser does not know can be replaced for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, cast

from proxy.errors import HeadTooLarge, MalformedRequest, ProxyError
from proxy.gateway.bulk import WORTH_IT, Bulk
from proxy.gateway.chunks import Chunks
from proxy.gateway.connections import Client, Connections
from proxy.gateway.duplex import Upgraded
from proxy.gateway.parsed import SPOKE_HTTP2, Refusal
from proxy.gateway.service import Service
from proxy.methods import METHOD, USUAL

_TLS = 0x16  # the first byte of a TLS handshake (RFC 8446, section 5.1), and no one's that speaks HTTP
_END = b"\r\n\r\n"  # of a head
_AHEAD = 1 << 16  # bytes that are held, and one more read
_BEGINNING = re.compile(rb"(%b)( ?)" % METHOD.encode())
_SMALL_LENGTH = re.compile(rb"\r\nContent-Length: ?(\d{1,5})\r\n", re.IGNORECASE)  # of a body that pauses no parser
_USUAL = tuple(method.encode() + b" " for method in USUAL)
# What the parser knows and treats in its own way.
_AS_THEY_ARE = frozenset(method.encode() for method in (*USUAL, "TRACE", "CONNECT", "PRI"))
_STAND_IN = b"PUT"  # a method that is framed as any unknown one, and none of RTSP's


class Reading(asyncio.Protocol):
    """What stands before a server's protocol, which does the rest.

    Attributes:
        in_head: whether it is in its head, and not idle.

    """

    __slots__ = ()

    in_head: bool
    transport: asyncio.Transport | None  # the protocol's, until it is closed
    # What the server's protocol has, and what knows it.
    force_close: Callable[[], None]
    refuse: Callable[[ProxyError], None]  # answers what is no complete request yet, and closes
    part: Callable[[bytes], None]
    _owner: Service
    _judge: Callable[[bytes, str], Any]  # sees to the message that the parser has made of a head; returns its body
    _new_parser: Callable[[], Any]  # Any: aiohttp's, as the connection began with
    _pause_reading_for_buffer: Callable[[], None]
    _resume_reading_for_buffer: Callable[[], None]
    _ahead: bytes  # what is held, from `_at` on
    _at: int
    _begun: bytearray  # of a head that is not complete
    _buffer_paused: bool
    _bulk: Bulk | None
    _chunks: Chunks | None  # of the body that the parser is in
    _close: bool
    _connections: Connections
    _duplex: Upgraded | None
    _fed: int  # bytes of `_begun` that the parser has been given
    _force_close: bool
    _method: str  # in whose place the parser was given another
    _messages: Any  # Any: aiohttp keeps their names to itself
    _parser: Any
    _payload: Any  # Any: the body that the parser is in, as aiohttp has it, or None
    _pipe: asyncio.Transport
    _reading_paused: bool
    _request_count: int
    _rest: int  # bytes of the body that the parser has not been given, if it has a length
    _seen: bool

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; nothing at all if the parser shall go on after a pause."""
        if not self._seen and data:
            self._seen = True  # type: ignore[misc]  # the slots are below, with the protocol's own
            if data[0] == _TLS:
                self.part(self._owner.tls_refusal())
                return
        if self._bulk is not None:
            data = b"" if self._force_close or self._close else self._bulk.feed(data)
            if not data:
                return
        if not data or self._duplex is not None:
            super().data_received(data)
            if self._duplex is not None:
                return
        if (
            not (self._ahead or self._begun or self._force_close or self._close)
            and self._payload is None
            and self in self._connections.waiting
            and data.startswith(_USUAL)
            and data.find(_END) == len(data) - len(_END)
        ):
            # A whole head, and nothing else: the hot path. The parser makes a message of it, or an error in its place.
            super().data_received(data)
            del self._connections.waiting[self]
            self._payload = self._judge(data, "")
            return
        self._take(self._ahead[self._at :] + data if self._ahead else data, 0)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, if reading was paused; aiohttp asks for each piece of a body that is taken."""
        if self._reading_paused:
            super().resume_reading(resume_parser)  # type: ignore[misc]  # the server's protocol has it

    def _take(self, data: bytes, at: int) -> None:
        """Give the parser what it may have of `data` from `at` on, and hold the rest."""
        size = len(data)
        while at < size and not (self._force_close or self._close):
            if self._payload is not None:
                if self._reading_paused:
                    break
                at = self._take_body(data, at)
            elif self in self._connections.waiting:
                at = self._take_head(data, at)
            else:
                break
        if at < size:
            self._ahead, self._at = data, at  # type: ignore[misc]  # as above
        elif self._ahead:
            self._ahead, self._at = b"", 0  # type: ignore[misc]  # as above
        if size - at >= _AHEAD:
            if not self._buffer_paused:
                self._pause_reading_for_buffer()
        elif self._buffer_paused:
            self._resume_reading_for_buffer()

    # -- heads ---------------------------------------------------------------------------------------

    def _take_head(self, data: bytes, at: int) -> int:
        """Take a head, or a part of it; return where it ends."""
        if not self._begun:
            if data[at] in b"\r\n":  # empty lines before a request line are ignored (RFC 9112, section 2.2)
                at = len(data) - len(data[at:].lstrip(b"\r\n"))
                if at == len(data):
                    return at
            end = data.find(_END, at) + len(_END)
            if end >= len(_END) and data.startswith(_USUAL, at):
                head = data[at:end]
                if end < len(data) and (length := _SMALL_LENGTH.search(head)):
                    whole = end + int(length[1])
                    if whole <= len(data):  # fed at once, which costs less
                        self._parse(data[at:whole], head, is_whole=True)
                        return whole
                self._parse(head, head, is_whole=True)
                return end
        return self._take_part(data, at)

    def _take_part(self, data: bytes, at: int) -> int:
        """Take a head that comes in parts, or whose method may be one that the parser does not know."""
        if not self.in_head:
            self.in_head = True  # type: ignore[misc]  # as above
            self._connections.wait(cast("Client", self))
        begun = self._begun
        before = len(begun)
        begun += memoryview(data)[at:]
        end = begun.find(_END, max(before - len(_END) + 1, 0)) + len(_END)
        is_whole = end >= len(_END)
        surplus = len(begun) - end if is_whole else 0
        if surplus:
            del begun[end:]
        self._parse(self._for_parser(begun), bytes(begun) if is_whole else begun, is_whole=is_whole)
        return len(data) - surplus

    def _for_parser(self, begun: bytearray) -> bytes:
        """Return what the parser has not been given of a head; nothing while its method may not be complete."""
        piece = bytes(begun[self._fed :])
        if not self._fed:
            match = _BEGINNING.match(begun)
            if match is not None and not match[2] and match.end() == len(begun):
                return b""
            if match is not None and match[2] and match[1] not in _AS_THEY_ARE:
                self._method = match[1].decode()  # type: ignore[misc]  # as above
                piece = _STAND_IN + piece[match.end(1) :]
        self._fed = len(begun)  # type: ignore[misc]  # as above
        return piece

    def _parse(self, piece: bytes, head: bytes | bytearray, *, is_whole: bool) -> None:
        """Give a piece of a head to the parser, and see that heads don't grow without end."""
        count = self._request_count
        if piece:
            super().data_received(piece)
        if self._request_count != count:
            # From here on it is a body that comes, though nobody may have begun to serve.
            self._connections.waiting.pop(self, None)
            body = self._judge(bytes(head), self._method)
            if body is not None:
                self._payload = body
            if self._begun:
                self._begun.clear()
                self._fed, self._method = 0, ""  # type: ignore[misc]  # as above
        elif len(head) > self._connections.settings.header_size:
            self.refuse(HeadTooLarge())
        elif is_whole:
            # The parser waits for the rest of HTTP/2's preface.
            self.refuse(MalformedRequest(SPOKE_HTTP2 if head.lstrip().startswith(b"PRI * HTTP/2.0\r\n") else ""))

    # -- bodies --------------------------------------------------------------------------------------

    def _take_body(self, data: bytes, at: int) -> int:
        """Take what belongs to the body of the request under way; return where it ends."""
        body, chunks, count = self._payload, self._chunks, self._request_count
        if chunks is None:
            end = min(len(data), at + self._rest)
            self._rest -= end - at  # type: ignore[misc]  # as above
            has_ended = not self._rest
        else:
            end = chunks.end(data, at)
            has_ended = chunks.ended
        super().data_received(data[at:end])
        if has_ended:
            self._payload = self._chunks = None  # type: ignore[misc]  # as above
        if chunks is not None and chunks.too_large:
            self._break_body(body, HeadTooLarge("the chunks' extensions or the trailers are too large"))
        elif self._request_count != count:
            self._break_body(body, MalformedRequest("the body is malformed"))
        elif has_ended != body.is_eof() and not self._reading_paused and body.exception() is None:
            self._break_body(body, MalformedRequest("where the body ends is not clear"))
        return end

    def _break_body(self, body: Any, error: ProxyError) -> None:
        """End a request whose body is broken; what the parser says of it would wait behind the request."""
        if self._messages and self._messages[0][1] is body:  # nobody has begun to serve it
            self._messages.clear()
            self._messages.append((Refusal(error), None))
        elif body.is_eof():
            self.force_close()
        else:
            body.set_exception(error)

    def _past_parser(self, body: Any, length: int) -> Any:  # Any: the server's, or a `Bulk`
        """Return a body of `length` bytes in the form in which it is to be read from here on."""
        if length - body.total_bytes <= WORTH_IT or self._ahead or body.exception() is not None:
            return body
        self._bulk = Bulk(self._pipe, body.read_nowait(), length - body.total_bytes)  # type: ignore[misc]  # as above
        self._bulk.on_eof(self._parse_on)
        self._payload = None
        return self._bulk

    def _parse_on(self) -> None:
        """Have a parser for what comes behind a large body: the old one still waits for what it was not given."""
        if self._bulk is not None and not self._bulk.rest and self.transport is not None:
            self._bulk = None  # type: ignore[misc]  # as above
            self._parser = self._new_parser()
