"""A request's head as bytes, and how its body is framed. Nothing is added, dropped, reordered or quoted.

What would let one request become two, a line break in a field or two framings, is refused as a defect of
ours.
"""

from __future__ import annotations

from http import HTTPMethod

import httpx

from proxy.errors import InternalError
from proxy.transport.parser import Fields

NO_BODY = 0
CHUNKED = -1
END = b"0\r\n\r\n"

_METHODS = {method.value: method.encode() + b" " for method in HTTPMethod}
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_SIZES = frozenset(map(len, (_LENGTH, _CODING, b"upgrade")))  # of the names that are looked at
_UPGRADE = -2
_COLON = b": ".join
_BREAK = "a line break within the request's head"


class HeadWriter:
    """Writes heads for one origin.

    Args:
        prefix: put in front of the target: ``http://host`` where an outgoing proxy wants the absolute form.
        extra: a field line for that proxy, without its end.

    """

    __slots__ = ("_fields", "_framing", "_lines", "_prefix", "_tail")

    def __init__(self, prefix: bytes = b"", extra: bytes = b"") -> None:
        self._prefix = prefix
        self._tail = [extra, b"", b""] if extra else [b"", b""]
        # Of the latest fields: clients repeat theirs, and most credentials do.
        self._fields: Fields = [(b"", b"")]
        self._lines = b""
        self._framing = (NO_BODY, False)

    def __call__(self, request: httpx.Request) -> tuple[bytes, int, bool]:
        """Return the head, the body's length (or NO_BODY, CHUNKED), and whether an upgrade is asked for.

        Raises:
            InternalError: the request must not be sent like this.

        """
        fields = request.headers.raw
        if fields != self._fields:
            self._write(fields)
        line = self._request_line(request)
        if b"\n" in line or b"\r" in line:
            raise InternalError(_BREAK)
        return line + self._lines, *self._framing

    def _write(self, fields: Fields) -> None:
        length, upgrade = NO_BODY, False
        framed = False
        for name, value in [field for field in fields if len(field[0]) in _SIZES]:
            framing = _framing(name, value)
            if framing == _UPGRADE:
                upgrade = True
            elif framing is not None:
                if framed:
                    raise InternalError("a request with two framings")
                length, framed = framing, True
        lines = [b"", *map(_COLON, fields), *self._tail]
        written = b"\r\n".join(lines)
        if written.count(b"\r") + written.count(b"\n") != 2 * (len(lines) - 1):
            raise InternalError(_BREAK)
        self._lines, self._framing = written, (length, upgrade)
        self._fields = fields.copy()  # whoever made the list may change it

    def _request_line(self, request: httpx.Request) -> bytes:
        target: bytes | None = request.extensions.get("target")
        if target is None:
            target = request.url.raw_path
        if self._prefix:
            # RFC 9112, section 3.2.4: "OPTIONS *" has an absolute form without a path.
            target = self._prefix if target == b"*" else self._prefix + target
        method = request.method
        return (_METHODS.get(method) or method.encode("ascii") + b" ") + target + b" HTTP/1.1"


def _framing(name: bytes, value: bytes) -> int | None:
    """Return the length or coding that a field gives, _UPGRADE, or None for any other field."""
    name = name.lower()
    if name == _LENGTH:
        if not value.isdigit():
            raise InternalError("a Content-Length that is none")
        return int(value)
    if name == b"upgrade":
        return _UPGRADE
    if name == _CODING:
        if value.strip().lower() != b"chunked":
            raise InternalError("a Transfer-Encoding other than chunked")
        return CHUNKED
    return None


def chunk(piece: bytes) -> bytes:
    """Return a piece, which must not be empty, as a chunk (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)
