"""The way to one upstream over HTTP/1.1: bytes as given, bodies as they come, failures told truly.

A transport object serves one origin and pools its connections. It sends what it is handed and changes
nothing; it never repeats a request, it only says, by the `proxy.errors.UpstreamError` that it raises, what
would be safe. Nothing here knows routes, credentials or aiohttp.
"""

from __future__ import annotations

from typing import Protocol

from proxy.transport.known import Repeated
from proxy.transport.messages import RawHeaders, raw_request, raw_response
from proxy.transport.pool import Reservation
from proxy.transport.transport import HTTP11Transport
from proxy.transport.upload import SMALL, Sink, at_hand

__all__ = [
    "SMALL",
    "AtHand",
    "HTTP11Transport",
    "NetworkStream",
    "Pourable",
    "RawHeaders",
    "ReadyStream",
    "Repeated",
    "Reservation",
    "Sink",
    "at_hand",
    "raw_request",
    "raw_response",
]


class ReadyStream(Protocol):
    """What ``response.stream`` can do beyond `httpx.AsyncByteStream`."""

    def ready(self) -> tuple[bytes, bool]:
        """Take what has arrived of the body, and say whether that completes it."""


class NetworkStream(Protocol):
    """``response.extensions["network_stream"]`` of a 101: the connection as it is, both ways."""

    async def read(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes, ``b""`` at the upstream's end. Raises ConnectionTerminated."""

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the upstream does not read. Raises ConnectionTerminated."""

    async def aclose(self) -> None:
        """Close the connection."""


class AtHand(Protocol):
    """What a ``request.stream`` may offer, so that a small body leaves with its head in one write."""

    def whole(self) -> bytes | None:
        """Return the whole body if all of it is in memory already, else None; consumes nothing."""


class Pourable(Protocol):
    """What a ``request.stream`` may offer that is iterated, so that a large body never becomes an object."""

    async def pour(self, sink: Sink) -> None:
        """Write what is yet to come of the body, or nothing: what it leaves out comes by the iteration."""
