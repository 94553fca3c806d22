"""A secret that a command prints, such as a password manager's."""

from __future__ import annotations

import asyncio
import shlex
import time
from typing import ClassVar

from pydantic import Field, PrivateAttr, field_validator

from proxy import encoding
from proxy.errors import SecretError
from proxy.process import ProgramError, run
from proxy.secrets import Source
from proxy.values import Duration

TIMEOUT = 30.0
LONGEST_REST = 60.0  # seconds


class Command(Source):
    """``{ command = ["pass", "show", "github"], ttl = "5m" }``: what it prints, kept for `ttl` seconds.

    The command is run without a shell and without standard input. What it prints to stderr is not repeated
    anywhere: it may well name the secret.
    """

    kind: ClassVar[str] = "command"
    command: tuple[str, ...] = Field(min_length=1)
    ttl: Duration = 300.0
    _kept: tuple[float, str] | None = PrivateAttr(default=None)
    _running: asyncio.Task[str] | None = PrivateAttr(default=None)
    _unchanged: int = PrivateAttr(default=0)  # times in a row that it was asked anew for nothing
    _rest_until: float = PrivateAttr(default=0.0)

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return tuple(shlex.split(value)) if isinstance(value, str) else value

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the command {self.command[0]}"

    async def read(self) -> str:
        """As `Source.read`; run once, however many want it."""
        if self._kept is not None and time.monotonic() < self._kept[0]:
            return self._kept[1]
        return await self._ran(anew=False)

    async def read_anew(self) -> str:
        """As `Source.read_anew`; a command that prints the same again and again is run after ever longer pauses."""
        if self._kept is not None and time.monotonic() < self._rest_until:
            return self._kept[1]
        return await self._ran(anew=True)

    async def _ran(self, *, anew: bool) -> str:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(anew=anew), name="secret command")
        # Shielded: the request that asked first may go away while others wait for the same run.
        return await asyncio.shield(self._running)

    async def _run(self, *, anew: bool) -> str:
        value = self._text(await self._output())
        if value.strip():
            now = time.monotonic()
            if anew and self._kept is not None and self._kept[1] == value:
                self._rest_until = now + min(2.0**self._unchanged, LONGEST_REST)
                self._unchanged = min(self._unchanged + 1, 10)
            else:
                self._unchanged = 0
            self._kept = (now + self.ttl, value)
        return value

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
