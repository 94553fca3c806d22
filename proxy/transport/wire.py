"""The bytes of one connection, both ways, with backpressure both ways; what they mean is not known here."""

from __future__ import annotations

import asyncio
import os
import select
import ssl
from contextlib import suppress
from typing import cast

from proxy.errors import ConnectionTerminated

_LAST = 1 << 16  # bytes that are read of what came before a reset


class Wire(asyncio.Protocol):
    """One connection's bytes.

    Attributes:
        active: the loop's time in seconds at which something moved last.

    """

    __slots__ = ("_loop", "_poll", "_transport", "_writable", "active")

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._writable: asyncio.Future[None] | None = None
        self.active = 0.0

    def is_fresh(self) -> bool:
        """Whether it is open, and nothing came that the loop has not told yet: an end, or stray bytes."""
        return not (self._transport.is_closing() or self._poll.poll(0))

    # -- out -------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if not self._transport.is_closing():
            self.active = self._loop.time()
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until more may be written.

        Raises:
            ConnectionTerminated: there is nothing left to write to.

        """
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self._transport.is_closing():
            raise ConnectionTerminated(sent=True, begun=True)

    @property
    def unsent(self) -> int:
        """Bytes that the upstream has yet to take."""
        return self._transport.get_write_buffer_size()

    @property
    def is_full(self) -> bool:
        """Whether that is so much that no more may be written."""
        return self._writable is not None

    def pause_writing(self) -> None:
        """Note that the upstream does not keep up."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self.active = self._loop.time()
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    # -- in --------------------------------------------------------------------------------------

    def slow(self) -> None:
        """Stop reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        self.active = self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def last_words(self) -> bytes:
        """Return what has come and the loop has not told, and never will when a write failed."""
        if self.is_tls:
            return b""
        try:
            return os.read(self._transport.get_extra_info("socket").fileno(), _LAST)
        except OSError:
            return b""

    def farewell(self) -> tuple[bytes, bool]:
        """Return what TLS holds and the loop has not told, and whether the end that comes after it was meant.

        An end without TLS is always taken for meant; one within TLS only if its close_notify came, since anybody
        on the way can end what TLS is on (RFC 8446, section 6.1). Loops tell both alike, and some drop what is left.
        """
        tls = self.tls
        if tls is None:
            return b"", True
        pieces: list[bytes] = []
        try:
            while piece := tls.read(_LAST):
                pieces.append(piece)
        except ssl.SSLZeroReturnError:
            pass  # both sides have said so
        except ssl.SSLError:
            return b"".join(pieces), False
        return b"".join(pieces), True

    # -- life ------------------------------------------------------------------------------------

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS on it, if there is any."""
        return cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object"))

    @property
    def is_tls(self) -> bool:
        """Whether there is TLS on it."""
        return self.tls is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the transport."""
        # uvloop's transports are no asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """Let nobody wait for it."""
        self.resume_writing()

    def close(self) -> None:
        """Close it once everything is written."""
        self._transport.close()

    def cut(self) -> None:
        """Close it at once."""
        with suppress(AttributeError):  # asyncio's TLS of Python 3.11.2, when it was closed before
            self._transport.abort()
