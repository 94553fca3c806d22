"""User names and passwords from a ``.netrc`` file, as curl and ftp have them, by the upstream's host."""

from __future__ import annotations

import io
import os
from base64 import b64encode
from collections.abc import Iterator
from functools import cached_property
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Literal

import httpx
from pydantic import PrivateAttr

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme, SecretKey
from proxy.errors import CredentialError, SecretError
from proxy.secrets import Source, text_of_file
from proxy.values import FilePath


class Netrc(Credential):
    """``type = "netrc"``; the file is read again when it changes."""

    type: Literal["netrc"]
    file: FilePath = Path("~/.netrc")
    _read: tuple[str, netrc] | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Netrc) and self.file == other.file  # whatever has been read since then

    __hash__ = Credential.__hash__

    @cached_property
    def source(self) -> Source:
        """The file as a secret."""
        return text_of_file(self.file)

    def secrets(self) -> Iterator[tuple[SecretKey, Source]]:
        """As `Credential.secrets`."""
        yield "file", self.source

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return NetrcScheme(self)

    async def entries(self) -> netrc:
        """Return what the file says.

        Raises:
            SecretError: it can't be had, or is none.

        """
        text = await self.source.get()
        if self._read is None or self._read[0] != text:
            self._read = text, self._parsed(text)
        return self._read[1]

    def _parsed(self, text: str) -> netrc:
        try:
            entries = netrc(os.devnull)
            # The public way would read the file once more, and stumble over a byte order mark.
            entries._parse(str(self.file), io.StringIO(text), False)  # type: ignore[attr-defined]  # not in its stubs
            return entries
        except (ValueError, NetrcParseError):
            pass  # raised outside: this exception may repeat a password
        raise SecretError(f"{self.source.where} is no .netrc; right would be: machine HOST login NAME password WORD")


class NetrcScheme(Scheme):
    """Sends what the file has for the upstream's host, or else its ``default``, by HTTP Basic (RFC 7617)."""

    fields = AUTHORIZATION

    def __init__(self, settings: Netrc) -> None:
        self._settings = settings

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        found = (await self._settings.entries()).authenticators(request.url.host)
        if found is None:
            raise CredentialError(f"{self._settings.source.where} has no entry for {request.url.host}")
        name, _, password = found
        request.headers["Authorization"] = "Basic " + b64encode(f"{name}:{password}".encode()).decode()

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.entries()
