"""A secret that a command prints, such as a password manager's."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
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
        value = self._text(await self._output())
        if value:
            self._kept = (time.monotonic() + self.ttl, value)
        return value

    async def _output(self) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            transport, printed = await loop.subprocess_exec(
                lambda: _Printed(loop), *self.command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except OSError as failure:
            raise SecretError(f"{self.where} can't be started: {failure.strerror}") from None
        except ValueError:
            raise SecretError(f"{self.where} can't be started: its words are not all text") from None
        try:
            async with asyncio.timeout(TIMEOUT):
                await printed.complete
        except TimeoutError:
            raise SecretError(f"{self.where} took longer than {TIMEOUT:.0f} s") from None
        finally:
            # Kills it, and does not wait for what it may have started, which could hold the pipe for long.
            transport.close()
            await printed.exited
        if len(printed.output) > LIMIT:
            raise SecretError(f"{self.where} printed too much")
        code = transport.get_returncode()
        if code:
            raise SecretError(f"{self.where} failed with exit code {code}")
        return bytes(printed.output)

    def _text(self, output: bytes) -> str:
        try:
            return output.decode().rstrip()
        except UnicodeDecodeError:
            pass  # raised outside: this exception has the secret on it
        raise SecretError(f"{self.where} printed something that is not UTF-8 text")


class _Printed(asyncio.SubprocessProtocol):
    """What a process prints, at most `LIMIT` bytes and some.

    Attributes:
        complete: done when it has ended and closed its output, or printed too much.
        exited: done when it has ended.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.output = bytearray()
        self.complete: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:  # noqa: ARG002  # asyncio's signature
        """As its base class."""
        assert isinstance(data, bytes)
        if not self.complete.done():
            self.output += data
            if len(self.output) > LIMIT:
                self.complete.set_result(None)

    def process_exited(self) -> None:
        """As its base class."""
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        """As its base class: it has exited, and its pipes are closed."""
        if not self.complete.done():
            self.complete.set_result(None)
