"""Where a route's requests go: one origin behind one ``httpx.AsyncBaseTransport``.

A transport tells of its failures by raising the `UpstreamError` that it was, with the three facts that decide
about a repetition: was anything sent, had the connection been used before, had the answer begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import httpx

from proxy.errors import UpstreamError
from proxy.gateway import RawHeaders
from proxy.gateway.body import NO_BODY, Body, NoBody, WholeBody
from proxy.gateway.rewrite import plain_authority
from proxy.transport import Reservation
from proxy.transport.kept import Kept
from proxy.transport.messages import raw_request

KEPT = 1 << 16  # bytes of a refused answer that are worth reading to save its connection
_DRAIN = 1.0  # seconds that this may take
# The same within an auth flow, whose next request may need the very same connection.
_KEPT_IN_FLOW, _DRAIN_IN_FLOW = 1 << 20, 3.0


class Slot(Protocol):
    """A request's place among the ``limits.concurrency`` that are under way; another gets it while this one waits."""

    async def acquire(self) -> None:
        """Wait for it, if it is not held already."""

    def release(self) -> None:
        """Free it, if it is held."""


@dataclass(slots=True, repr=False)
class Draft:
    """A request before its credential: what each sending starts from.

    Attributes:
        slot: None where the route has no limit.
        bare: whether it goes without the credential, because the client brought its own.

    """

    method: str
    target: bytes
    fields: RawHeaders
    body: Body | WholeBody | NoBody = NO_BODY
    idempotency_key: bool = False
    bare: bool = False
    slot: Slot | None = None


class Upstream:
    """The origin of one route.

    Attributes:
        url: the upstream's URL, as configured.
        base: its path without the slash at its end.
        authority: its host, and its port unless that is the scheme's default: the ``Host`` of requests.
        proxy: the outgoing proxy that leads there, None for none.

    """

    def __init__(
        self,
        url: httpx.URL,
        transport: httpx.AsyncBaseTransport,
        foreign: httpx.AsyncBaseTransport,
        proxy: httpx.URL | None = None,
    ) -> None:
        self.url = url
        self.proxy = proxy
        self.base = url.raw_path.rstrip(b"/")
        self.authority = url.netloc
        self.plain_authority = plain_authority(url.netloc, url.raw_scheme + b":")
        self._transport = transport
        self._foreign = foreign

    def request(self, draft: Draft) -> httpx.Request:
        """Return a fresh request, made without parsing a URL.

        Its `url` is the upstream's as configured; what is requested stands in ``extensions["target"]``.
        """
        # Its own list of fields: the draft's is shared by all requests of the same head.
        return raw_request(draft.method, self.url, [*draft.fields], draft.body, {"target": draft.target})

    def is_own(self, request: httpx.Request) -> bool:
        """Whether a request goes to this origin."""
        url = request.url
        return url.host == self.url.host and url.scheme == self.url.scheme and url.port == self.url.port

    def send(self, request: httpx.Request, reservation: Reservation | None = None) -> Awaitable[httpx.Response]:
        """Send one request, once, over the connection of a reservation if there is one.

        A request that a credential's flow directs to another origin (its token endpoint, say) is sent by
        ``extensions["client"]`` or, without one, by a plain client.

        Raises:
            UpstreamError: what failed, as the transport tells it.
            LoopDetected: the upstream is this very process.

        """
        if request.url is self.url or self.is_own(request):
            if reservation is not None:
                request.extensions["reservation"] = reservation
            return self._transport.handle_async_request(request)
        client: httpx.AsyncBaseTransport = request.extensions.pop("client", self._foreign)
        return client.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


async def keep(response: httpx.Response, most: int = KEPT, seconds: float = _DRAIN) -> httpx.Response | None:
    """Read an answer that may still be handed on, if it has at most so many bytes, so that its connection is free.

    One that breaks off, or takes its time, is closed, and None: it can't be handed on.
    """
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    pieces = aiter(stream)
    start = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in pieces:
                start += piece
                if len(start) > most:
                    break
            else:
                await stream.aclose()
    except (UpstreamError, TimeoutError):
        await stream.aclose()
        return None
    except BaseException:
        await stream.aclose()
        raise
    response.stream = Kept(bytes(start), pieces, stream)
    return response


async def discard(response: httpx.Response, *, in_flow: bool = False) -> None:
    """Close a response; a small rest is read before, so that the connection can be used again."""
    try:
        if in_flow:
            await keep(response, _KEPT_IN_FLOW, _DRAIN_IN_FLOW)
        else:
            await keep(response)
    finally:
        await response.aclose()
