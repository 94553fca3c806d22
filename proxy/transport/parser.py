"""What an upstream sends, turned into one answer (RFC 9112).

llhttp reads heads and chunks; what it lets pass although it could be read in two ways is refused here. The
rest of a body with a known length, or one that ends with the connection, is counted and never parsed. A byte
that follows a complete answer is not interpreted: it is ``surplus``, and the connection is worth nothing any
more.
"""

from __future__ import annotations

from http import HTTPStatus

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from proxy.errors import UpstreamProtocolError
from proxy.transport.keepalive import idle_time
from proxy.transport.known import LARGEST, KnownHead, KnownHeads, Repeated

Fields = list[tuple[bytes, bytes]]

MOST_INTERIMS = 32  # before a final response

_VERSIONS = {b"HTTP/1.1 ": b"HTTP/1.1", b"HTTP/1.0 ": b"HTTP/1.0"}
_VERSION_SIZE = 9
_TLS_ALERT = b"\x15"
_END = b"\r\n\r\n"
_REASONS = frozenset(status.phrase.encode() for status in HTTPStatus) | {b""}
_CONTROLS = bytes(set(range(32)) - {9} | {127})
_ENDLESS = 1 << 80  # what remains of a body that ends with the connection; no Content-Length is as large


class _Stop(Exception):  # ends llhttp's loop, is never seen outside
    """A callback has seen enough."""


class AnswerParser:
    """Parses one answer after the other; `start` names the request that the next one belongs to.

    Args:
        max_head: bytes of a head.
        max_fields: fields in it.
        known: heads that other parsers with the same limits have read, too.

    Attributes:
        begun: whether a byte has arrived.
        status: the final answer's status, 0 until its head is complete.
        reason, version, fields: the rest of its head, bytes as they came.
        pieces: body bytes parsed since the user last emptied it.
        complete: whether the answer is.
        surplus: whether bytes followed that belong to no answer.
        keep_alive: whether the upstream leaves the connection open (RFC 9112, section 9.3).
        idle_time: seconds that it stays open when it is idle, None if the upstream does not say.
        rest: body bytes to come, None if that is not known.
        leftover: what followed the head of a 101.

    """

    __slots__ = (
        "_bodiless", "_chunked", "_fault", "_held", "_hint", "_http", "_interims", "_known", "_lines", "_max_fields",
        "_max_head", "_overhead", "_raw", "_spent", "_started", "_tail", "_upgrade", "begun", "complete", "fields",
        "idle_time", "keep_alive", "leftover", "on_body", "pieces", "reason", "status", "surplus", "version",
    )  # fmt: skip

    def __init__(self, *, max_head: int, max_fields: int, known: KnownHeads | None = None) -> None:
        self._known = KnownHeads() if known is None else known
        self._max_head = max_head
        self._max_fields = max_fields
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self._lines: Fields = []
        self._http = HttpResponseParser(self)
        self.leftover = b""
        self._spent = False
        self.start(bodiless=False, upgrade=False)

    def start(self, *, bodiless: bool, upgrade: bool) -> None:
        """Expect the answer to a new request.

        Args:
            bodiless: it was a HEAD.
            upgrade: it had an ``Upgrade``, so that 101 is an answer.

        """
        if self._spent:
            self._http = HttpResponseParser(self)
            self._spent = False
        self._bodiless = bodiless
        self._upgrade = upgrade
        self._started = self._chunked = False
        self._held = self._tail = self._hint = b""
        self._fault = ""
        self._overhead = self._interims = 0
        self._raw = 0
        self.begun = self.complete = self.surplus = self.keep_alive = False
        self.status = 0
        self.reason = self.version = b""
        self.idle_time: float | None = None
        self.fields: Fields = []

    @property
    def rest(self) -> int | None:
        """Body bytes to come, if the answer has a length."""
        return self._raw if 0 < self._raw < _ENDLESS // 2 else None

    def feed(self, data: bytes) -> None:
        """Take what has arrived.

        Raises:
            UpstreamProtocolError: it is not HTTP/1.x, over the limits, or ambiguous; the end of this parser.

        """
        self.begun = True
        if self.complete:
            self.surplus = True
            return
        if self._raw:
            self._count(data)
            return
        if not self._started and self._is_recalled(data):
            return
        self._overhead += len(data)
        if not self._started:
            version = _VERSIONS.get(data[:_VERSION_SIZE])
            if version is None or self._held:
                data = self._open(data)
                if not data:
                    return
            else:
                self.version = version
                self._started = True
        try:
            self._http.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self.leftover = data[upgrade.args[0] :]
        except HttpParserError as error:
            self._judge(error)
        self._go_on(data)

    def _go_on(self, data: bytes) -> None:
        if self._bodiless or not self.complete:
            self._account(data)
        elif self.keep_alive and self._overhead == len(data) and self._known.worth_learning():
            self._learn(data)

    # -- heads that come again -------------------------------------------------------------------

    def _is_recalled(self, data: bytes) -> bool:
        """Take an answer whose head is known, if this is one; llhttp, which is between two, has no part in it."""
        end = data.find(_END) + 4
        known = self._known.get(data[:end])
        if known is None or len(data) - end > known.length or self._held or self._bodiless:
            return False
        self.status, self.reason, self.version, self.fields, length, self.idle_time = known
        self.keep_alive = self._started = True
        self._known.credit += 1
        if len(data) > end:
            self.pieces.append(data[end:])
        self._raw = length + end - len(data)
        self.complete = not self._raw
        return True

    def _learn(self, data: bytes) -> None:
        """Remember the head of an answer that was complete at once, if its length tells where it ends."""
        end = data.find(_END) + 4
        if self._chunked or self.surplus or end > LARGEST or self.status in (101, 204, 304):
            return
        if int(data[_VERSION_SIZE : _VERSION_SIZE + 3]) != self.status:  # an interim answer came first
            return
        length = content_length(self.fields)
        if length is not None:
            known = KnownHead(self.status, self.reason, self.version, Repeated(self.fields), length, self.idle_time)
            self._known.learn(data[:end], known)

    def _judge(self, error: HttpParserError) -> None:
        """Tell an error within the answer from one in what follows it."""
        if not self.complete or self.status == 101:
            raise UpstreamProtocolError(self._fault or f"not proper HTTP: {error}") from None
        self.surplus = True

    def finish(self) -> bool:
        """Note the end of the connection; say whether it is the end of the answer."""
        if self._raw >= _ENDLESS // 2:
            self.complete = True
        return self.complete

    # -- the start of the answer -----------------------------------------------------------------

    def _open(self, data: bytes) -> bytes:
        """Check the version, which llhttp takes easily ("RTSP/2.0"); hold less than that back."""
        data = self._held + data
        version = _VERSIONS.get(data[:_VERSION_SIZE])
        if version is None:
            if data[:1] == _TLS_ALERT:
                raise UpstreamProtocolError("the upstream speaks TLS; expected https:// in its URL")
            if not any(start.startswith(data) for start in _VERSIONS):
                raise UpstreamProtocolError("the answer does not start with HTTP/1.1 or HTTP/1.0")
            self._held = data
            return b""
        self.version = version
        self._started = True
        return data

    # -- what lies between two callbacks ---------------------------------------------------------

    def _account(self, data: bytes) -> None:
        """Bound what is neither body nor answer, and see how the body goes on."""
        if not self.status or (self._chunked and not self.pieces):
            if self._overhead > self._max_head:
                raise UpstreamProtocolError("the answer's head is too large")
            if self._bodiless:
                self._tail = (self._tail + data)[-3:]
        elif self._bodiless:
            self._settle(self._tail + data)
        elif self._chunked:
            self._overhead = 0
        else:
            self._spent = True
            length = content_length(self.fields)
            self._raw = _ENDLESS if length is None else length - sum(map(len, self.pieces))

    def _settle(self, data: bytes) -> None:
        """See that nothing follows the head of an answer to HEAD; llhttp would expect a body."""
        if self.pieces or not data.endswith(b"\r\n\r\n"):
            self.pieces.clear()
            self.surplus = True

    def _count(self, data: bytes) -> None:
        rest = self._raw - len(data)
        if rest > 0:
            self.pieces.append(data)
            self._raw = rest
            return
        self.pieces.append(data[:rest] if rest else data)
        self._raw = 0
        self.complete = True
        self.surplus = rest < 0

    # -- llhttp's callbacks ----------------------------------------------------------------------

    def _refuse(self, fault: str) -> None:
        self._fault = fault
        raise _Stop

    def on_message_begin(self) -> None:
        """Begin an answer, interim or final."""
        if self.complete:
            raise _Stop
        self._lines = []
        self.reason = self._hint = b""

    def on_status(self, reason: bytes) -> None:
        """Take (a part of) the reason phrase."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head or the trailer section."""
        self._lines.append((name, value))
        if len(name) == 17 and name.lower() == b"transfer-encoding":
            # llhttp would take "gzip, chunked" and "chunked, chunked" for chunked.
            if self._chunked or value.rstrip(b" ").lower() != b"chunked":
                self._refuse("an unknown or doubled Transfer-Encoding")
            self._chunked = True
        elif len(name) == 10 and name.lower() == b"keep-alive":
            self._hint = self._hint + b"," + value if self._hint else value

    def on_headers_complete(self) -> None:
        """Judge the head; trailers go to another list, which nobody reads."""
        status = self._http.get_status_code()
        fields, self._lines = self._lines, []
        if (
            self._chunked
            or self.reason not in _REASONS
            or self._overhead > self._max_head
            or len(fields) > self._max_fields
        ):
            self._check_head(fields)
        if status < 200:
            self._check_interim(status, fields)
            if status != 101:
                return
        self.status = status
        self.fields = fields
        self.keep_alive = self._http.should_keep_alive()
        if self._bodiless:
            self.keep_alive = self.version == b"HTTP/1.1" and not says_close(fields)
            self._spent = True
            self.complete = True
        elif status == 204 and (self._chunked or content_length(fields)):
            self.keep_alive = False  # the body that it speaks of may follow
        if self._hint:
            self.idle_time = idle_time(self._hint)
            self.keep_alive = self.keep_alive and self.idle_time != 0

    def on_message_complete(self) -> None:
        """End an answer; after an interim one, the next begins."""
        self._spent = False
        if self.status:
            self.complete = True

    def _check_head(self, fields: Fields) -> None:
        if len(fields) > self._max_fields:
            self._refuse("the answer has too many fields")
        if self._overhead > self._max_head < head_size(fields):
            self._refuse("the answer's head is too large")
        if self.reason.translate(None, _CONTROLS) != self.reason:
            self._refuse("a control character in the reason phrase")
        if self._chunked and self.version == b"HTTP/1.0":
            self._refuse("Transfer-Encoding in an HTTP/1.0 answer")

    def _check_interim(self, status: int, fields: Fields) -> None:
        self._interims += 1
        if self._interims > MOST_INTERIMS:
            self._refuse(f"more than {MOST_INTERIMS} interim responses")
        if status < 100:
            self._refuse("the status is not one")
        if self._chunked or content_length(fields):
            self._refuse("an interim answer with a body")
        if status == 101 and not self._upgrade:
            self._refuse("an unasked 101")


def head_size(fields: Fields) -> int:
    """Return the bytes that header fields take."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def content_length(fields: Fields) -> int | None:
    """Return the Content-Length, which llhttp has checked."""
    for name, value in fields:
        if len(name) == 14 and name.lower() == b"content-length":
            return int(value[-20:])  # of thousands of zeros Python would make no number
    return None


def says_close(fields: Fields) -> bool:
    """Return whether a ``Connection`` field has the token ``close``."""
    return any(
        token.strip().lower() == b"close"
        for name, value in fields
        if name.lower() == b"connection"
        for token in value.split(b",")
    )
