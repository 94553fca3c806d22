"""httpx's messages without what their constructors cost: fields stay the list of bytes that they are.

A field list is taken apart only when somebody asks for a name. What else a message has is copied from a blank one
that httpx made, so that nothing depends on which attributes those are.
"""

from __future__ import annotations

import re
from typing import Any

import httpx

from proxy.transport.parser import Fields

_REQUEST: dict[str, Any] = vars(httpx.Request("GET", "http://blank.invalid/", stream=httpx.ByteStream(b"")))
_RESPONSE: dict[str, Any] = vars(httpx.Response(200, stream=httpx.ByteStream(b"")))
_new = object.__new__

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a field (RFC 9110, section 5.6.2)."""
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no field holds, since it could be read as another one (RFC 9110, section 5.5)."""


class RawHeaders(httpx.Headers):
    """`httpx.Headers` on a list of pairs, which it takes over and does not copy.

    ``raw`` is that list as long as only ``raw``, ``in`` and assignments were used, and must not be changed.
    """

    _parsed: list[tuple[bytes, bytes, bytes]] | None = None
    _encoding = None

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    @property
    def raw(self) -> Fields:
        """The fields as pairs of bytes."""
        if self._parsed is None:
            return self._fields
        return [(name, value) for name, _, value in self._parsed]

    # What the other methods of httpx.Headers work on.

    @property
    def _list(self) -> list[tuple[bytes, bytes, bytes]]:
        if self._parsed is None:
            self._parsed = [(name, name.lower(), value) for name, value in self._fields]
        return self._parsed

    @_list.setter
    def _list(self, parsed: list[tuple[bytes, bytes, bytes]]) -> None:
        self._parsed = parsed

    def __setitem__(self, key: str, value: str) -> None:
        if self._parsed is not None:
            super().__setitem__(key, value)
            return
        encoding = self._encoding or "utf-8"
        name = key.encode(encoding)
        self._fields = replaced(self._fields, name, value.encode(encoding))

    def __contains__(self, key: Any) -> bool:  # Any: as httpx has it
        if self._parsed is not None:
            return super().__contains__(key)
        name = key.encode(self.encoding).lower()
        return any(name == other.lower() for other, _ in self._fields)


def replaced(fields: Fields, name: bytes, value: bytes) -> Fields:
    """Return the fields with one that is set: in the place of the first of its name, else at the end."""
    lower, size = name.lower(), len(name)
    for at, field in enumerate(fields):
        if len(field[0]) == size and field[0].lower() == lower:
            rest = [field for field in fields[at + 1 :] if field[0].lower() != lower]
            return [*fields[:at], (name, value), *rest]
    return [*fields, (name, value)]


def raw_request(
    method: str, url: httpx.URL, fields: Fields, stream: httpx.AsyncByteStream, extensions: dict[str, Any]
) -> httpx.Request:
    """Return a request; nothing is parsed, checked or added. Takes over ``fields`` and ``extensions``.

    Args:
        method: as it will be sent.
        url: where to; one object may serve all requests of a route.
        fields: as they will be sent, ``Host`` among them.
        stream: the body.
        extensions: ``target`` and whatever else.

    """
    attributes = _REQUEST.copy()
    attributes["method"] = method
    attributes["url"] = url
    attributes["headers"] = RawHeaders(fields)
    attributes["stream"] = stream
    attributes["extensions"] = extensions
    request = _new(httpx.Request)
    request.__dict__ = attributes
    return request


def raw_response(
    status: int, fields: Fields, stream: httpx.AsyncByteStream, extensions: dict[str, Any]
) -> httpx.Response:
    """Return a response; takes over ``fields`` and ``extensions``."""
    attributes = _RESPONSE.copy()
    attributes["status_code"] = status
    attributes["headers"] = RawHeaders(fields)
    attributes["stream"] = stream
    attributes["extensions"] = extensions
    attributes["history"] = []
    response = _new(httpx.Response)
    response.__dict__ = attributes
    return response
