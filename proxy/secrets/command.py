"""A secret that a command prints, such as a password manager's."""

from __future__ import annotations

import asyncio
import shlex
import time
from typing import ClassVar

from pydantic import Field, PrivateAttr, field_validator

from proxy.errors import SecretError
from proxy.secrets import Source
from proxy.values import Duration

TIMEOUT = 30.0
LIMIT = 1 << 20


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
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="secret command")
        # Shielded: the request that asked first may go away while others wait for the same run.
        return await asyncio.shield(self._running)

    async def _run(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=LIMIT,
            )
        except OSError as failure:
            raise SecretError(f"{self.where} can't be started: {failure.strerror}") from None
        try:
            async with asyncio.timeout(TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            raise SecretError(f"{self.where} took longer than {TIMEOUT:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise SecretError(f"{self.where} failed with exit code {process.returncode}")
        try:
            value = output.decode().rstrip()
        except UnicodeDecodeError:
            raise SecretError(f"{self.where} printed something that is not UTF-8 text") from None
        self._kept = (time.monotonic() + self.ttl, value)
        return value
