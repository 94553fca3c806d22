"""Who does not read: a client that takes nothing of what it is sent is cut off in the end.

Looked at now and then, and only while something waits to be taken: clients that read cost nothing.
"""

from __future__ import annotations

import asyncio
import socket
import struct

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Stalled:
    """Connections on which bytes wait: too many to be given more, or the last ones before the end."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Transport, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, transport: asyncio.Transport, now: float) -> None:
        """Look after one until `forget`. What waits may only become less meanwhile: that is how progress is told."""
        self._waiting[transport] = (transport.get_write_buffer_size(), now)

    def forget(self, transport: asyncio.Transport) -> None:
        """Let one be, if it is known at all."""
        self._waiting.pop(transport, None)

    def cut(self, now: float, patience: float) -> None:
        """Cut off who has taken nothing for `patience` seconds."""
        for transport, (size, since) in list(self._waiting.items()):
            left = transport.get_write_buffer_size()
            if left != size:
                self._waiting[transport] = (left, now)
            elif now - since > patience:
                self.forget(transport)
                reset_on_close(transport)
                transport.abort()


def reset_on_close(transport: asyncio.Transport) -> None:
    """Have the connection end with a reset, which also those see who wait for its end; nothing more is sent then."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
