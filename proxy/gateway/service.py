"""One request served: asked of the gateway, written to the client, and told to whoever observes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from proxy.clock import Clock
from proxy.errors import MalformedRequest, ProxyError, ShuttingDown
from proxy.gateway import Answer, Forward, Inbound, Story
from proxy.gateway.connections import Client, Connections, ConnectionSettings
from proxy.gateway.duplex import Wire
from proxy.gateway.problem import problem
from proxy.gateway.reply import Framing, begin, framing, go_on, head_bytes

Observe = Callable[[Story], None]
Warn = Callable[[str], None]

_LAST = Framing(has_body=True, chunked=False, keep_alive=False)
_SPOKE_TLS = "a client spoke TLS; use http://"
_QUIET = 60.0  # seconds between two lines about clients that speak TLS


class Peer(Client, Wire, Protocol):
    """A client's connection: it has an end, and can be written to."""

    @property
    def writing_paused(self) -> bool:
        """Whether the client does not read as fast as it is written to."""

    @property
    def stays(self) -> bool:
        """Whether it may bring another request after the one under way, if that is for the client to say."""


class Service:
    """Serves a gateway to clients.

    Args:
        forward: answers requests.
        observe: told the story of each request when it is over.
        warn: given a line for the log.

    Attributes:
        connections: who is connected.

    """

    def __init__(
        self, forward: Forward, settings: ConnectionSettings, clock: Clock, observe: Observe, warn: Warn
    ) -> None:
        self.forward = forward
        self.connections = Connections(settings, clock)
        self.clock = clock
        self._observe = observe
        self._warn = warn
        self._tls_clients = 0  # since the last line about them
        self._quiet_until = -math.inf

    async def serve(self, peer: Peer, inbound: Inbound) -> bool:
        """Answer one request; return whether the connection may bring another.

        Raises:
            ConnectionError: the client has gone, or was broken off.

        """
        story = inbound.story
        head = b""
        complete = False
        answer: Answer | None = None
        try:
            answer = await self.forward(inbound)
            story.status = answer.status
            stays = peer.stays and not self.connections.draining
            framed = framing(answer, inbound.method, inbound.version, keep_alive=stays)
            head = head_bytes(answer, framed, inbound.version)
            complete = begin(peer, answer, framed, head, story)
            if not complete:
                await go_on(peer, answer, framed, story)
            story.complete = True
            if peer.writing_paused:
                await peer.drain()
        except asyncio.CancelledError:
            if self.connections.draining and not head:
                _turn_away(peer, inbound)
            raise
        finally:
            try:
                if answer is not None and not (complete and answer.cleanup is None):
                    await answer.aclose()
            finally:
                if answer is None:
                    story.failure = story.failure or "the client went away"
                self._observe(story)
        return framed.keep_alive

    def refusal(self, error: ProxyError) -> bytes:
        """Return the bytes of an answer to what never became a request."""
        story = Story("-", "", self.clock.monotonic())
        story.status = error.status
        answer = problem(error, story)
        assert isinstance(answer.body, bytes)
        story.returned = len(answer.body)
        self._observe(story)
        return head_bytes(answer, _LAST, (1, 1)) + answer.body

    def tls_refusal(self) -> bytes:
        """Return the bytes of a response to a client that speaks TLS, and log it: a line a minute at most.

        To a TLS client, any HTTP response is a record of an unknown type or version. That is the error by which
        users recognise a plain port, and Go's client shows that it is one.
        """
        self._tls_clients += 1
        now = self.clock.monotonic()
        if now >= self._quiet_until:
            times = f" ({self._tls_clients} times)" if self._tls_clients > 1 else ""
            self._warn(f"{_SPOKE_TLS}{times}")
            self._tls_clients, self._quiet_until = 0, now + _QUIET
        answer = problem(MalformedRequest(_SPOKE_TLS), Story("-", "", now))
        assert isinstance(answer.body, bytes)
        return head_bytes(answer, _LAST, (1, 1)) + answer.body


def _turn_away(peer: Peer, inbound: Inbound) -> None:
    """Answer a request that outlives the grace."""
    story = inbound.story
    answer = problem(ShuttingDown(retry_after=1), story)
    framed = framing(answer, inbound.method, inbound.version, keep_alive=False)
    try:
        begin(peer, answer, framed, head_bytes(answer, framed, inbound.version), story)
        story.status = answer.status
    except ConnectionError:
        story.returned = 0
