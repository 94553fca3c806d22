"""What comes by a client's connection, on its way to the parser: how much of it, and what needs none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from proxy.errors import HeadTooLarge, ProxyError
from proxy.gateway.bulk import WORTH_IT, Bulk
from proxy.gateway.connections import Client, Connections

_TLS_HANDSHAKE = b"\x16\x03"


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
    _look_again: Callable[[bytes, int], None]  # sees to what the parser does not tell of the last messages in data
    _break_body: Callable[[], None]  # tells the request under way if its body is broken
    _new_parser: Callable[[], Any]  # Any: aiohttp's, as the connection began with
    _begun: bytearray  # of a head that is not complete
    _body: Any  # Any: of the request under way, as aiohttp or we have it
    _bulk: Bulk | None
    _connections: Connections
    _close: bool
    _force_close: bool
    _has_large_heads: bool
    _messages: Any  # Any: aiohttp keeps their names to itself
    _parser: Any
    _pipe: asyncio.Transport
    _reading_paused: bool
    _request_count: int
    _seen: bool

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and see that heads don't grow without end."""
        if not self._seen:
            self._seen = True  # type: ignore[misc]  # the slots are below, with the protocol's own
            if data.startswith(_TLS_HANDSHAKE):
                # Answered in plain text, a TLS client would wait or report nonsense.
                self.force_close()
                return
        if self._bulk is not None:
            data = b"" if self._force_close or self._close else self._bulk.feed(data)
            if not data:
                return
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            if len(self._begun) + len(data) > self._connections.settings.header_size:
                self._has_large_heads = True  # type: ignore[misc]  # as above
            # Of what was refused there is no `upgrade`, and most heads want none.
            if getattr(self._messages[-1][0], "upgrade", None) is not False or b"RTSP/" in data or self._begun:
                self._look_again(bytes(self._begun) + data, self._request_count - count)
                self._begun.clear()
            # From here on it is a body that comes, though nobody may have begun to serve.
            self._connections.waiting.pop(cast("Client", self), None)
            if self._body is not None:
                self._break_body()
        elif data and cast("Client", self) in self._connections.waiting:
            self._grow_head(data)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, if reading was paused; aiohttp asks for each piece of a body that is taken."""
        if self._reading_paused:
            super().resume_reading(resume_parser)  # type: ignore[misc]  # the server's protocol has it

    def _grow_head(self, data: bytes) -> None:
        if not self.in_head:
            self.in_head = True  # type: ignore[misc]  # as above
            self._connections.wait(cast("Client", self))
        self._begun += data
        if len(self._begun) > self._connections.settings.header_size:
            self.refuse(HeadTooLarge())

    # -- large bodies --------------------------------------------------------------------------------

    def _past_parser(self, body: Any, length: int) -> Any:  # Any: the server's, or a `Bulk`
        """Return a body of `length` bytes in the form in which it is to be read from here on."""
        if length - body.total_bytes <= WORTH_IT or self._messages or body.exception() is not None:
            return body
        self._bulk = Bulk(self._pipe, body.read_nowait(), length - body.total_bytes)  # type: ignore[misc]  # as above
        self._bulk.on_eof(self._parse_on)
        return self._bulk

    def _parse_on(self) -> None:
        """Have a parser for what comes behind a large body: the old one still waits for what it was not given."""
        if self._bulk is not None and not self._bulk.rest and self.transport is not None:
            self._bulk = None  # type: ignore[misc]  # as above
            self._parser = self._new_parser()
