"""A request's body as the client sends it: asked for, waited for, and refused when it is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from proxy.errors import MalformedRequest, ProxyError, RequestTimeout
from proxy.gateway.bulk import Bulk
from proxy.gateway.duplex import Wire
from proxy.transport import Sink


class Content(Protocol):
    """What the server has of the body."""

    def is_eof(self) -> bool:
        """Whether all of it has come."""

    def read_nowait(self) -> bytes:
        """Return what has come, empty if nothing is there; raises whatever the parser found."""

    async def readany(self) -> bytes:
        """As `read_nowait`, but wait for something, or for the end."""

    def feed_eof(self) -> None:
        """Have it end here."""


class Intake:
    """A body; the first piece that is wanted sends ``100 Continue`` (RFC 9110, section 10.1.1).

    Args:
        expected: whether the client waits for that.
        timeout: seconds between two pieces; 0 for any time.

    """

    def __init__(self, content: Content, wire: Wire, *, expected: bool, timeout: float) -> None:
        self._content = content
        self._wire = wire
        self._expected = expected
        self._timeout = timeout or None
        self._failed = False

    @property
    def is_unwanted(self) -> bool:
        """Whether the client still waits for a ``100 Continue`` that it will not get."""
        return self._expected

    def leave(self) -> None:
        """Have nobody wait for a rest that will not come: the server would, before it closes the connection."""
        if self._expected or self._failed:
            self._content.feed_eof()

    async def __call__(self) -> AsyncIterator[bytes]:
        """As `BodySource`."""
        if self._expected:
            self._expected = False
            self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while piece := await self._piece():
            yield piece

    def whole(self) -> bytes | None:
        """As `Inbound.whole`."""
        if self._expected or not self._content.is_eof():
            return None
        try:
            return self._content.read_nowait()
        except Exception:  # noqa: BLE001  # raised again, and told, where it is read piece by piece
            return None

    async def pour(self, sink: Sink, took: Callable[[int], None]) -> None:
        """Write what is yet to come, if it is a lot, to `sink`; raises what that raises, and as `BodySource`.

        ``took`` is told of it.
        """
        if isinstance(self._content, Bulk):
            try:
                await self._content.pour(sink, took, self._timeout)
            except TimeoutError:
                self._failed = True
                raise RequestTimeout("the body came too slowly") from None

    async def _piece(self) -> bytes:
        """Return what comes next; empty at the end."""
        try:
            piece = self._content.read_nowait()
            if piece or self._content.is_eof():
                return piece
            async with asyncio.timeout(self._timeout):
                return await self._content.readany()
        except TimeoutError:
            failure: ProxyError = RequestTimeout("the body came too slowly")
        except ConnectionError:
            failure = MalformedRequest("the client went away")
        except ProxyError as known:
            failure = known
        except Exception:  # noqa: BLE001  # whatever the parser found, it is the client's fault
            failure = MalformedRequest("the body is malformed")
        self._failed = True
        raise failure
