"""What several tests need of sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection without a farewell: what is unsent is dropped, and the other side is told that it was."""
    if not writer.transport.is_closing():  # uvloop's socket is a number, and then may be another's
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def has_ipv6() -> bool:
    """Whether this machine has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
