"""What means "this token is dead": a 401, unless the API has its own way to say so."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urljoin, urlsplit

import httpx
from pydantic import BeforeValidator, Field, model_validator

from proxy.credentials._challenges import challenges
from proxy.transport.codings import decoded
from proxy.transport.kept import peek
from proxy.values import Model, split_words

PEEKED = 1 << 16  # bytes of an answer's body that are looked at
PATIENCE = 2.0  # seconds for them to come

Statuses = Annotated[
    tuple[Annotated[int, Field(ge=200, le=599)], ...], BeforeValidator(split_words), Field(min_length=1)
]


class Unauthorized(Model):
    """``unauthorized``: what an answer must have, all of it, to mean that the credential has to be renewed.

    Attributes:
        body: a text in the first 64 KiB of the body, as UTF-8.
        redirect: a pattern with ``*`` for the path of ``Location``, or for all of it.
        error: the ``error`` of a challenge (RFC 6750, section 3).

    """

    status: Statuses = (401,)
    body: str | None = Field(default=None, min_length=1)
    redirect: str | None = Field(default=None, min_length=1)
    error: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Unauthorized:
        if self.redirect is not None and not any(300 <= status < 400 for status in self.status):
            raise ValueError("redirect is of answers such as 302; right would be status = [302], too")
        return self

    @property
    def reads_body(self) -> bool:
        """Whether the bodies of responses are looked at."""
        return self.body is not None

    async def matches(self, response: httpx.Response) -> bool:
        """Whether `response` means it; its body can be read as before, even if its start was looked at."""
        if response.status_code not in self.status:
            return False
        if self.redirect is not None and not self._leads(response):
            return False
        if self.error is not None and not self._challenges(response):
            return False
        return self.body is None or self.body.encode() in await _start(response)

    def _leads(self, response: httpx.Response) -> bool:
        assert self.redirect is not None
        location = response.headers.get("location")
        if location is None:
            return False
        try:
            path = urlsplit(urljoin(_path(response), location)).path
        except ValueError:
            return False
        return fnmatchcase(path, self.redirect) or fnmatchcase(location, self.redirect)

    def _challenges(self, response: httpx.Response) -> bool:
        return any(each.parameters.get("error") == self.error for each in challenges(response.headers.raw))


def _path(response: httpx.Response) -> str:
    target: bytes = response.request.extensions.get("target", b"/")
    return target.partition(b"?")[0].decode("latin-1")


async def _start(response: httpx.Response) -> bytes:
    start = await peek(response, PEEKED, PATIENCE)
    return decoded(start, response.headers.get("content-encoding", ""), PEEKED)
