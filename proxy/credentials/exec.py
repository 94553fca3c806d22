"""A token that a program prints: run again when the token is about to expire, and when the API refuses it."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import Literal

import httpx
from pydantic import Field, field_validator

from proxy.credentials import Context, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.credentials._tokens import from_text
from proxy.encoding import TEXT
from proxy.errors import CredentialError, ProxyError, TokenEndpointDown
from proxy.log import mask
from proxy.process import Printed, ProgramError, ProgramTimeout, run
from proxy.stores import Token

TIMEOUT = 10.0  # seconds
UNTOLD = 300.0  # seconds that a token lives of which nothing is said
SHOWN = 300  # characters of stderr
_OPAQUE = re.compile(r"(?=[A-Za-z_\-+=~]*\d)(?=[\d_\-+=~]*[A-Za-z])[\w\-+=~]{8,}", re.ASCII)
_NAMED = re.compile(r"((?:token|secret|passw(?:or)?d|passphrase|key)[\"']?\s*[:=]\s*)\S+", re.IGNORECASE)


class Exec(Renewable):
    """``type = "exec"``; the command is run without a shell."""

    type: Literal["exec"]
    command: tuple[str, ...] = Field(min_length=1)

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return ExecScheme(self, context)


class ExecScheme(TokenScheme):
    """Sends what the program printed last."""

    def __init__(self, settings: Exec, context: Context) -> None:
        super().__init__(settings, context)
        self._command = settings.command
        self._what = f"the command {settings.command[0]}"

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`."""
        return list(self._command)

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`."""
        printed = await self._run()
        said = _said(printed.errors, printed.output)
        if printed.code:
            raise _with(said, CredentialError(f"{self._what} failed with exit code {printed.code}"))
        now = self._clock.time()
        try:
            token = from_text(printed.output.decode(TEXT, "replace"), now, f"what {self._what} printed")
        except CredentialError as failure:
            raise _with(said, failure) from None
        return token if token.expires_at is not None else replace(token, expires_at=now + UNTOLD)

    async def _run(self) -> Printed:
        try:
            return await run(self._command, TIMEOUT, alone=True)
        except ProgramTimeout as failure:
            raise _with(_said(failure.errors), TokenEndpointDown(f"{self._what} {failure}", retry_after=1)) from None
        except ProgramError as failure:
            raise CredentialError(f"{self._what} {failure}") from None

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: runs nothing."""
        await super().explain(request)
        return {"token": f"from {self._what}, or the store"}


def _with(said: str, failure: ProxyError) -> ProxyError:
    """Add what the program said to a failure; it may name paths and accounts, and is no part of what is public."""
    told = type(failure)(f"{failure.detail}{said}", retry_after=failure.retry_after)
    told.public = failure.detail
    return told


def _said(errors: bytes, output: bytes = b"") -> str:
    """What the program said on stderr: the end of it, in one line, without what could be secret."""
    text = errors.decode("utf-8", "replace")
    for word in output.decode("utf-8", "replace").split():
        if len(word) >= 4:
            text = text.replace(word, "***")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    text = _OPAQUE.sub("***", _NAMED.sub(r"\1***", mask(text)))
    if len(text) > SHOWN:
        text = "…" + text[-SHOWN:]
    return f": {text}" if text else ""
