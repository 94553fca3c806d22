"""One connection to the upstream, and what happens on it, in the order in which the event loop tells.

It is idle, or busy with one request and its answer, or a tunnel, or lost. It goes back to its home only when
request and answer are complete, nothing followed them and the upstream keeps it open; in every other case it
is closed.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from proxy.errors import (
    ConnectionTerminated,
    ReadTimeout,
    ResponseIncomplete,
    TlsProtocolError,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
)
from proxy.transport.answer import Answer
from proxy.transport.known import KnownHeads
from proxy.transport.parser import AnswerParser
from proxy.transport.tunnel import Tunnel
from proxy.transport.upload import Upload, at_hand, framed
from proxy.transport.watch import Watch
from proxy.transport.wire import Wire
from proxy.transport.writer import NO_BODY, HeadWriter

_DRAINED = 1 << 16  # bytes of an unwanted answer that are worth reading to keep the connection …
_DRAIN = 1.0  # … and seconds that this may take
_HALF_ENDED = "The upstream broke off within its answer: the connection ended before TLS did"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upstream may do.

    Attributes:
        read_timeout: seconds without a byte from it, or to it; None for ever.
        max_head: bytes of an answer's head, interim answers and trailers.
        max_fields: fields in a head.
        known: heads that it has sent before.

    """

    read_timeout: float | None = 60.0
    max_head: int = 65536
    max_fields: int = 256
    known: KnownHeads = field(default_factory=KnownHeads)


class Home(Protocol):
    """Who keeps connections."""

    def proven(self, connection: Connection) -> None:
        """Learn that it has brought its first answer."""

    def released(self, connection: Connection) -> None:
        """Have it back, for another request."""

    def distrusted(self) -> None:
        """Learn that the upstream sent bytes that belong to no answer."""

    def lost(self, connection: Connection) -> None:
        """Forget it."""


class Connection(Wire):
    """A connection; made by the loop, given requests by the transport.

    Attributes:
        served: how many answers it has brought.
        idle_since: the loop's time in seconds of its last release.
        idle_time: seconds that it stays open after that, None if the upstream does not say.
        reservation: what it is kept for, None if any request may use it.

    """

    __slots__ = (
        "_answer", "_drain", "_home", "_parser", "_sent", "_spoilt", "_tunnel", "_upload", "_watch",
        "_writer", "idle_since", "idle_time", "reservation", "served",
    )  # fmt: skip

    def __init__(self, home: Home, writer: HeadWriter, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._home = home
        self._writer = writer
        self._watch = Watch(self, limits.read_timeout, loop)
        self._parser = AnswerParser(max_head=limits.max_head, max_fields=limits.max_fields, known=limits.known)
        self._answer: Answer | None = None
        self._upload: Upload | None = None
        self._tunnel: Tunnel | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._sent = self._spoilt = False
        self.idle_since = 0.0
        self.idle_time: float | None = None
        self.reservation: Any = None  # Any: a `Reservation` of the pool, which imports this module
        self.served = 0

    # -- the transport's side --------------------------------------------------------------------

    def send(self, request: httpx.Request) -> Answer:
        """Begin to send a request; return its answer to come.

        Raises:
            InternalError: the request must not be sent like this; nothing was.

        """
        self._sent = False
        try:
            head, length, upgrade = self._writer(request)
            self._parser.start(bodiless=request.method == "HEAD", upgrade=upgrade)
            answer = self._answer = Answer(self, self._loop)
            if length == NO_BODY:
                self._transport.write(head)
                self._sent = True
            else:
                self._send_body(head, length, request)
        except BaseException:
            self.cut()
            raise
        self._watch.begin()
        return answer

    def _send_body(self, head: bytes, length: int, request: httpx.Request) -> None:
        stream = request.stream
        body = at_hand(stream)
        if body is not None:
            self.write(head + framed(body, length))
            return
        assert isinstance(stream, httpx.AsyncByteStream)
        assert self._answer is not None
        self._upload = self._answer.upload = Upload(self, head, length, stream)
        self._upload.begin(self._loop)

    # -- the answer's side -----------------------------------------------------------------------

    def spoil(self) -> None:
        """Send no more of the request's body; the connection is closed with the end of the answer."""
        self._spoilt = True
        if self._upload is not None:
            self._upload.cut()
            self._upload = None
        if self._answer is not None and self._answer.complete:
            self._end(self._answer)

    def leave(self) -> None:
        """Do without the rest of the answer: a small one is still read, by and by."""
        rest = self._parser.rest
        if self._upload is None and self._parser.keep_alive and rest is not None and rest <= _DRAINED:
            if self._answer is not None and self._answer.slowed:
                self.go_on()
            self._drain = self._loop.call_later(_DRAIN, self.abort)
        else:
            self.abort()

    def abort(self) -> None:
        """End at once."""
        self._answer = None
        self.spoil()
        self.cut()

    # -- the upload's side -----------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if not self._transport.is_closing():
            self._sent = True
            super().write(data)

    def uploaded(self) -> None:
        """Note that the request is complete."""
        self._upload = None
        if self._answer is not None and self._answer.complete:
            self._end(self._answer)

    def broke_off(self, failure: BaseException) -> None:
        """Cut the connection, so that what was sent is not taken for a complete body."""
        self._upload = None
        self._break(failure)

    # -- the watch's side ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether it owes an answer."""
        return self._answer is not None

    @property
    def excused(self) -> bool:
        """Whether it is the client's turn, to send or to read."""
        upload, answer = self._upload, self._answer
        return (upload is not None and upload.waiting) or (answer is not None and answer.slowed)

    @property
    def uploading(self) -> bool:
        """Whether a body is being sent."""
        return self._upload is not None

    def late(self, *, unsent: int) -> None:
        """Give up an upstream that takes too long."""
        self._break(self._error(WriteTimeout if unsent else ReadTimeout))

    # -- the loop's side -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what the upstream sent."""
        answer = self._answer
        if answer is None:
            self._stray(data)
            return
        parser = self._parser
        try:
            parser.feed(data)
        except UpstreamProtocolError as fault:
            self._break(self._error(UpstreamProtocolError, fault.detail))
            return
        if parser.status:  # what comes before, interim responses above all, does not extend the time for the head
            self.active = self._loop.time()
        if parser.status == 101 and self._upload is not None:
            self._break(self._error(UpstreamProtocolError, "101 before the request was complete"))
            return
        answer.take(parser)
        if parser.complete and self._upload is None:
            self._end(answer)
        if parser.status:
            answer.arrived(len(data))

    def eof_received(self) -> bool:
        """Note that the upstream will send no more; say whether it may still be sent to."""
        if self._tunnel is not None:
            self._tunnel.end()
            return not self.is_tls
        if self._answer is not None:
            self._end_with_connection(self._answer)
            self.cut()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody."""
        if exc is not None and self._upload is not None:
            # Who answers 413 early often closes without reading on, and then resets us.
            words = self.last_words()
            if words:
                self.data_received(words)
        super().connection_lost(exc)
        self._watch.stop()
        if self._drain is not None:
            self._drain.cancel()
        if self._tunnel is not None:
            self._tunnel.end(exc)
        if self._answer is not None:
            self._end_with_connection(self._answer, exc)
        self.spoil()
        self._home.lost(self)

    # -- ends ------------------------------------------------------------------------------------

    def _end(self, answer: Answer) -> None:
        """Be done with a complete request and its answer."""
        self._answer = None
        answer.let_go()
        parser = self._parser
        if answer.status == 101:
            self._tunnel = answer.tunnel = Tunnel(self, self._loop, parser.leftover)
            return
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        if not self.served:
            self._home.proven(self)
        if parser.surplus:
            self._home.distrusted()
        if self._spoilt:
            self.cut()
        elif parser.surplus or not parser.keep_alive:
            self.close()
        else:
            if answer.slowed:
                self.go_on()
            self.served += 1
            self.idle_time = parser.idle_time
            self._home.released(self)

    def _end_with_connection(self, answer: Answer, exc: Exception | None = None) -> None:
        """End what is not complete when the connection is: for a body without a length that is its end."""
        rest, is_meant = self.farewell()
        if rest:
            self.data_received(rest)
            if self._answer is None:
                return
        if exc is None and is_meant and self._parser.finish():
            answer.take(self._parser)
            answer.arrived(0)
        if answer.complete:
            self._answer = None
            answer.let_go()
        else:
            self._break(self._explained(exc, "" if is_meant else _HALF_ENDED))

    def _break(self, failure: BaseException) -> None:
        """End the answer by an exception, and the connection with it."""
        answer, self._answer = self._answer, None
        self.spoil()
        self.cut()
        if answer is not None:
            answer.fail(failure)

    def _stray(self, data: bytes) -> None:
        """Deal with bytes that belong to no answer, or to a tunnel."""
        if self._tunnel is not None:
            self._tunnel.feed(data)
            return
        if self._loop.time() - self.idle_since < _DRAIN:
            self._home.distrusted()
        self.cut()

    # -- failures --------------------------------------------------------------------------------

    def _error(self, kind: type[UpstreamError], detail: str = "") -> UpstreamError:
        return kind(detail, sent=self._sent, reused=self.served > 0, begun=self._parser.begun)

    def _explained(self, exc: Exception | None, detail: str) -> UpstreamError:
        if self._parser.begun:
            return self._error(ResponseIncomplete, detail)
        if isinstance(exc, ssl.SSLError):
            reason = getattr(exc, "reason", None) or "no reason given"
            return self._error(TlsProtocolError, f"The upstream ended TLS: {reason}")
        return self._error(ConnectionTerminated)
