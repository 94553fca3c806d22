"""One request to the demo API, with its target and body as they came over the wire.

A body is read when somebody asks for it, so a refusal may be answered before it. Only then is
``100 Continue`` sent, too. A body whose chunks are broken never ends for aiohttp: such a call lasts until the
client leaves.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from proxy.demo.refusal import Refusal

_ORIGIN = re.compile(r"\Ahttps?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Body:
    """What is kept of a body: its size in bytes and its SHA-256 in hex."""

    size: int
    sha256: str


class Call:
    """A request and its number.

    Attributes:
        request: aiohttp's own view of it.
        number: how many requests the API had seen with this one.
        target: the request target, byte for byte (aiohttp refuses one that is not ASCII).
        path: the target's path, not decoded.
        query: the target's query, not decoded.

    """

    def __init__(self, request: web.Request, number: int) -> None:
        self.request = request
        self.number = number
        self.target = request.raw_path
        self.path, _, self.query = _ORIGIN.sub("", self.target).partition("?")
        self._body: Body | None = None
        self._expects = request.version >= HttpVersion11 and "Expect" in request.headers

    @property
    def method(self) -> str:
        """The method."""
        return self.request.method

    @property
    def is_awaited(self) -> bool:
        """Whether the client still waits for ``100 Continue``: nobody knows if the body will come."""
        return self._expects

    def fields(self, name: str) -> list[str]:
        """Return the values of all header fields of that `name`."""
        return self.request.headers.getall(name, [])

    def credentials(self) -> tuple[str, str]:
        """Return scheme (in lower case) and credentials of ``Authorization`` (RFC 9110, 11.4), or two ``""``.

        Raises:
            Refusal: there are several; which one counts would be a guess.

        """
        values = self.fields("Authorization") or [""]
        if len(values) > 1:
            raise Refusal(400, "invalid_request", f"Authorization was sent {len(values)} times; send it once.")
        scheme, _, credentials = values[0].partition(" ")
        return scheme.lower(), credentials.strip(" ")

    async def body(self) -> Body:
        """Read the body to its end, once, and return what is kept of it."""
        if self._body is None:
            size, digest = 0, hashlib.sha256()
            async for chunk in self._chunks():
                size += len(chunk)
                digest.update(chunk)
            self._body = Body(size, digest.hexdigest())
        return self._body

    async def text(self, limit: int) -> bytes:
        """Read a small body as it is.

        Raises:
            Refusal: it is larger than `limit` bytes.

        """
        content = bytearray()
        async for chunk in self._chunks():
            content += chunk
            if len(content) > limit:
                raise Refusal(413, "invalid_request", f"The body is larger than {limit} bytes.")
        return bytes(content)

    async def _chunks(self) -> AsyncIterator[bytes]:
        if self._expects:
            self._expects = False
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0
        async for chunk in self.request.content.iter_any():
            yield chunk
