"""The spine: one request's way, a step a file. This page names what passes between the steps.

The server hands in an `Inbound`, the gateway gives back an `Answer`, and the `Story` of the request is
written on the way: it is what the log line, the metrics and ``Proxy-Status`` tell afterwards.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener by which requests come in.

    Attributes:
        name: as configured, ``127.0.0.1:8080`` or ``unix:/run/x.sock``.
        port: the TCP port that it really has, or None.

    """

    name: str
    port: int | None = None


@dataclass(slots=True)
class Story:
    """What happened to one request.

    Attributes:
        outcomes: of each request that was sent upstream, a status class or an error.
        attempts: how many `retry.attempts` counts of them.
        replays: how many followed a renewal.
        waited: seconds spent waiting because the API or a backoff said so.
        notes: what the proxy did that went well, such as ``renewed token``.
        failure: what it tried in vain, and what `error` that is (RFC 9209).
        started: monotonic seconds.
        received, returned: bytes of the request's and of the answer's body.

    """

    method: str
    path: str
    started: float
    route: str = ""
    status: int = 0
    outcomes: list[str] = field(default_factory=list)
    attempts: int = 0
    replays: int = 0
    waited: float = 0.0
    notes: list[str] = field(default_factory=list)
    failure: str = ""
    error: str = ""
    received: int = 0
    returned: int = 0
    complete: bool = False
    _id: str = ""

    @property
    def request_id(self) -> str:
        """A random name, made when first asked for."""
        if not self._id:
            self._id = secrets.token_hex(8)
        return self._id


class BodySource(Protocol):
    """The client's body as the server reads it."""

    def __call__(self) -> AsyncIterator[bytes]:
        """Pieces as they come; raises `MalformedRequest` or `RequestTimeout`.

        Called again after a cancellation, it goes on where that was.
        """


@dataclass(slots=True)
class Inbound:
    """A request as the client sent it.

    Attributes:
        target: the request target, byte for byte.
        version: (1, 0) or (1, 1) in a proper request.
        body: None where there is none.
        length: the body's announced length in bytes; None if it is chunked.

    """

    method: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    version: tuple[int, int]
    entrance: Entrance
    story: Story
    body: BodySource | None = None
    length: int | None = None


class Duplex(Protocol):
    """A connection after ``101 Switching Protocols``."""

    async def read(self, max_bytes: int) -> bytes:
        """What has arrived, at most `max_bytes`; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer does not read."""

    async def aclose(self) -> None:
        """End it."""


@dataclass(slots=True)
class Answer:
    """What the client gets.

    Attributes:
        body: bytes, or a stream that the server closes when done with it.
        close: whether the client's connection ends after it.
        duplex: the upstream's side, after a 101.
        deadline: event loop time at which the body must be complete, or None.
        cleanup: called when the answer is through, or can't be given.

    """

    status: int
    headers: RawHeaders
    body: bytes | httpx.AsyncByteStream = b""
    reason: bytes = b""
    close: bool = False
    duplex: Duplex | None = None
    deadline: float | None = None
    cleanup: Callable[[], Awaitable[None]] | None = None


Forward = Callable[[Inbound], Awaitable[Answer]]
