"""What the fields of templates stand for, as far as the request itself tells."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable

import httpx

from proxy.credentials._fields import field_value

HEADERS = {"host": "Host", "content_type": "Content-Type"}
"""Fields with a name of their own that stand for a header."""


class Values(dict[str, bytes]):
    """Values by field; who signs adds what only it knows. The rest is made when it is first asked for."""

    def __init__(self, request: httpx.Request) -> None:
        super().__init__()
        self.request = request
        self["method"] = request.method.encode()
        self["target"] = request.extensions["target"]

    def __missing__(self, field: str) -> bytes:
        make = _MAKERS.get(field)
        if make is None:  # a header's, which may be set in the meantime
            return field_value(self.request, HEADERS.get(field) or field.removeprefix("header:"))
        value = self[field] = make(self)
        return value

    def take_hash(self, digest: bytes) -> None:
        """Take what the body hashes to."""
        self["body_hash"] = digest.hex().encode()
        self["body_hash_base64"] = b64encode(digest)

    def forget_target(self) -> None:
        """Have what depends on the target made anew: it was changed."""
        for field in _OF_TARGET & self.keys():
            del self[field]
        self["target"] = self.request.extensions["target"]


_MAKERS: dict[str, Callable[[Values], bytes]] = {
    "scheme": lambda values: values.request.url.raw_scheme,
    "path": lambda values: values["target"].partition(b"?")[0],
    "query": lambda values: values["target"].partition(b"?")[2],
    "sorted_query": lambda values: b"&".join(sorted(pair for pair in values["query"].split(b"&") if pair)),
    "nonce": lambda _: secrets.token_hex(16).encode(),
}
_OF_TARGET = frozenset({"target", "path", "query", "sorted_query"})
