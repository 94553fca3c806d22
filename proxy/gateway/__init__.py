"""The spine: one request's way, a step a file. This page names what passes between the steps.

The server hands in an `Inbound`, the gateway gives back an `Answer`, and the `Story` of the request is
written on the way: it is what the log line, the metrics and ``Proxy-Status`` tell afterwards.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener by which requests come in.

    Attributes:
        name: as configured, ``127.0.0.1:8080`` or ``unix:/run/x.sock``.
        port: the TCP port that it really has, or None.
        is_loopback: whether it is a loopback address, so that whoever comes is on this machine.

    """

    name: str
    port: int | None = None
    is_loopback: bool = False


class Story:
    """What happened to one request.

    Most of it never happens; what did not costs nothing, since it is the class that has it.

    Attributes:
        target: the request target as text.
        started: monotonic seconds.
        outcomes: of each request that was sent upstream, a status class or an error.
        attempts: how many `retry.attempts` counts of them.
        replays: how many followed a renewal.
        waited: seconds spent waiting because the API or a backoff said so.
        held: what the request waits for at present before it is sent, empty if for nothing.
        notes: what the proxy did that went well, such as ``renewed token``.
        failure: what it tried in vain, and what `error` that is (RFC 9209).
        received, returned: bytes of the request's and of the answer's body.

    """

    route: str = ""
    status: int = 0
    outcomes: tuple[str, ...] = ()
    attempts: int = 0
    replays: int = 0
    waited: float = 0.0
    held: str = ""
    notes: tuple[str, ...] = ()
    failure: str = ""
    error: str = ""
    received: int = 0
    returned: int = 0
    complete: bool = False
    _id: str = ""

    def __init__(self, method: str, target: str, started: float) -> None:
        self.method = method
        self.target = target
        self.started = started

    @property
    def path(self) -> str:
        """The target without its query, fit to be shown."""
        path = self.target.partition("?")[0]
        return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("ascii", "replace")

    @property
    def request_id(self) -> str:
        """A random name, made when first asked for."""
        if not self._id:
            self._id = f"{random.getrandbits(64):016x}"  # tells lines apart, and protects nothing
        return self._id


class Head:
    """A request's fields, read once; `proxy.gateway.headers.read` makes it.

    A client that sends the same fields again on its connection brings the same head again, and with it what was
    made of it: each step may keep here what depends on nothing but the fields, the version and its own settings.

    Attributes:
        raw: the fields as they came.
        fields: those that may go on.
        special: values by lower-case name of those that mean something to us.
        verdict: the guard's.
        outgoing: a route's.

    """

    __slots__ = ("fields", "outgoing", "raw", "special", "verdict")

    def __init__(
        self, raw: Sequence[tuple[bytes, bytes]], fields: RawHeaders, special: dict[bytes, list[bytes]]
    ) -> None:
        self.raw = raw
        self.fields = fields
        self.special = special
        self.verdict: Any = None  # Any: only who put it there knows what it is
        self.outgoing: Any = None

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of a special field."""
        values = self.special.get(name)
        return values[0] if values else None


def _not_here() -> None:
    return None


class BodySource(Protocol):
    """The client's body as the server reads it."""

    def __call__(self) -> AsyncIterator[bytes]:
        """Pieces as they come; raises `MalformedRequest` or `RequestTimeout`.

        Called again after a cancellation, it goes on where that was.
        """


@dataclass(slots=True, repr=False)
class Inbound:
    """A request as the client sent it.

    Attributes:
        target: the request target, byte for byte.
        version: (1, 0) or (1, 1) in a proper request.
        body: None where there is none.
        length: the body's announced length in bytes; None if it is chunked.
        whole: reads the whole body if all of it is here, so that there is nothing to wait for; else it returns None.

    """

    method: str
    target: bytes
    head: Head
    version: tuple[int, int]
    entrance: Entrance
    story: Story
    body: BodySource | None = None
    length: int | None = None
    whole: Callable[[], bytes | None] = _not_here


class Duplex(Protocol):
    """A connection after ``101 Switching Protocols``."""

    async def read(self, max_bytes: int) -> bytes:
        """What has arrived, at most `max_bytes`; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer does not read."""

    async def aclose(self) -> None:
        """End it."""


@dataclass(slots=True, repr=False)
class Answer:
    """What the client gets.

    Attributes:
        body: bytes, or a stream that the server closes when done with it.
        close: whether the client's connection ends after it.
        duplex: the upstream's side, after a 101.
        deadline: event loop time at which the body must be complete, or None.
        cleanup: called with the stream's end.
        has_length: whether there is a ``Content-Length`` among the headers.

    """

    status: int
    headers: RawHeaders
    body: bytes | httpx.AsyncByteStream = b""
    reason: bytes = b""
    close: bool = False
    duplex: Duplex | None = None
    deadline: float | None = None
    cleanup: Callable[[], Awaitable[None]] | None = None
    has_length: bool = False

    async def aclose(self) -> None:
        """Be done with it, be it through or not."""
        try:
            if not isinstance(self.body, bytes):
                await self.body.aclose()
        finally:
            if self.cleanup is not None:
                await self.cleanup()


Forward = Callable[[Inbound], Awaitable[Answer]]
