"""How a client's connection ends when it is not the request that ends it: the client does not read, or has gone.

A client that has sent its request and then ends its sending side (``printf … | nc -N``) looks like one that has
gone. What tells them apart is what they make of more of the answer: who has gone resets the connection. So it is
taken for gone if nothing more of the answer leaves for a moment.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any, cast

from proxy.gateway import Story
from proxy.gateway.connections import Client, Connections
from proxy.gateway.duplex import Upgraded

PATIENCE = 0.5  # seconds
_LINGER = 2.0  # seconds
_READ = 1 << 16  # bytes


class Ending(asyncio.Protocol):
    """What stands before a server's protocol, which does the rest."""

    __slots__ = ()

    transport: asyncio.Transport | None  # the protocol's, until it is closed
    writing_paused: bool
    _body: Any  # Any: of the request under way, and of those that wait in `_messages`; as aiohttp has them
    _connections: Connections
    _duplex: Upgraded | None
    _ended: bool
    _loop: asyncio.AbstractEventLoop
    _messages: Any
    _pipe: asyncio.Transport  # until it is lost
    _story: Story | None

    # -- who does not read ---------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Have somebody look whether the client reads at all."""
        super().pause_writing()
        self._connections.stalled.watch(self._pipe, self._loop.time())

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if not self._pipe.is_closing():
            self._connections.stalled.forget(self._pipe)

    def force_close(self) -> None:
        """Close, when the client has read what was sent; or when it does not, after all."""
        if self.transport is not None:
            self._connections.stalled.watch(self._pipe, self._loop.time())
        super().force_close()  # type: ignore[misc]  # the server's protocol has it

    # -- who is sent away ----------------------------------------------------------------------------

    def part(self, words: bytes) -> None:
        """Say something, and close when the client has heard it (RFC 9112, section 9.6).

        A connection that is closed while something is there that nobody has read is reset, and what was said is lost.
        """
        pipe = self._pipe
        pipe.write(words)
        self.transport = None  # type: ignore[misc]  # as above; nothing that comes is read any more
        self.force_close()
        pipe.write_eof()
        if not pipe.is_closing():
            pipe.resume_reading()  # a client that waits for us to read does not read itself
        self._connections.linger(cast("Client", self))
        self._connections.stalled.watch(pipe, self._loop.time())
        self._loop.call_later(_LINGER, pipe.close)

    def cut(self) -> None:
        """Close at once. What has come is read away, since the client would not see our response after a reset."""
        pipe = self._pipe
        with suppress(OSError):
            while len(os.read(pipe.get_extra_info("socket").fileno(), _READ)) == _READ:
                pass
        pipe.abort()

    # -- who may have gone ---------------------------------------------------------------------------

    def eof_received(self) -> bool:
        """Return whether the client may still wait for an answer."""
        if self.transport is None:
            return False
        if not self._ended and self._is_asked():
            self._ended = True  # type: ignore[misc]  # the slot is below, with the protocol's own
            self._loop.call_later(PATIENCE, self._look_after, self._answered())
        return self._ended

    def _is_asked(self) -> bool:
        """Whether a whole request has come, and its answer is not at its end."""
        if self in self._connections.waiting or self._duplex is not None:
            return False
        body = self._messages[-1][1] if self._messages else self._body
        return body is None or body.is_eof()

    def _answered(self) -> tuple[int, int]:
        """Return what changes with each piece of an answer."""
        return (self._story.status, self._story.returned) if self._story is not None else (0, 0)

    def _look_after(self, before: tuple[int, int]) -> None:
        if self.transport is None:
            return
        takes = self.writing_paused or self._answered() != before
        if takes and not self._is_reset():
            self._loop.call_later(PATIENCE, self._look_after, before)
        else:
            self.force_close()

    def _is_reset(self) -> bool:
        sock = self._pipe.get_extra_info("socket")
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
