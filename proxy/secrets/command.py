"""A secret that a command prints, such as a password manager's."""

from __future__ import annotations

import shlex
from typing import ClassVar

from pydantic import Field, field_validator

from proxy import encoding
from proxy.errors import SecretError
from proxy.process import ProgramError, run
from proxy.secrets._kept import KeptSource
from proxy.values import Duration

TIMEOUT = 30.0  # seconds


class Command(KeptSource):
    """``{ command = ["pass", "show", "github"], ttl = "5m" }``: what it prints, kept for `ttl` seconds.

    The command is run without a shell and without standard input. What it prints to stderr is not repeated
    anywhere: it may well name the secret.
    """

    kind: ClassVar[str] = "command"
    command: tuple[str, ...] = Field(min_length=1)
    ttl: Duration = 300.0

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the command {self.command[0]}"

    @property
    def lifetime(self) -> float:
        """As `KeptSource.lifetime`."""
        return self.ttl

    async def ask(self) -> str:
        """As `KeptSource.ask`: runs it."""
        return self._text(await self._output())

    async def _output(self) -> bytes:
        try:
            printed = await run(self.command, TIMEOUT)
        except ProgramError as failure:
            raise SecretError(f"{self.where} {failure}") from None
        if printed.code:
            raise SecretError(f"{self.where} failed with exit code {printed.code}")
        return printed.output

    def _text(self, output: bytes) -> str:
        try:
            return output.decode(encoding.TEXT)
        except UnicodeDecodeError:
            pass  # raised outside: this exception has the secret on it
        raise SecretError(f"{self.where} printed something that {encoding.flaw(output)}")
