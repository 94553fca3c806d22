"""Programs that print something: run without a shell and without standard input, bounded in time and in size."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from proxy import environment
from proxy.errors import CountersignError

LIMIT = 1 << 20  # bytes of what is printed
LIMIT_ERRORS = 1 << 12  # bytes of what is printed to stderr: the last ones


class ProgramError(CountersignError):
    """A program could not be started or printed too much; the text is what follows its name."""


class ProgramTimeout(ProgramError):
    """A program took too long, and was killed.

    Attributes:
        errors: as `Printed.errors`.

    """

    def __init__(self, text: str, errors: bytes) -> None:
        super().__init__(text)
        self.errors = errors


@dataclass(frozen=True, slots=True, repr=False)
class Printed:
    """What a program left behind.

    Attributes:
        code: its exit code, negative if a signal ended it.
        output: what it printed.
        errors: the last of what it printed to stderr, if that was asked for.

    """

    code: int
    output: bytes
    errors: bytes


async def run(command: Sequence[str], timeout: float, *, alone: bool = False) -> Printed:  # noqa: ASYNC109  # says so in its error
    """Run a program to its end.

    Args:
        command: its words.
        timeout: seconds.
        alone: whether it is away from the terminal, its stderr is read, and what it started is killed with it when
            time is over or the caller goes away. Otherwise only itself is killed then, and its stderr is lost.

    Raises:
        ProgramTimeout: it took longer.
        ProgramError: it can't be started, or printed more than `LIMIT`.

    """
    loop = asyncio.get_running_loop()
    errors = subprocess.PIPE if alone else subprocess.DEVNULL
    try:
        transport, printed = await loop.subprocess_exec(
            lambda: _Printed(loop),
            *_found(command),
            stdin=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=alone,
            env=environment.for_programs(),
        )
    except OSError as failure:
        raise ProgramError(f"can't be started: {failure.strerror}") from None
    except ValueError:
        raise ProgramError("can't be started: its words are not all text") from None
    is_over = False
    try:
        async with asyncio.timeout(timeout):
            await printed.complete
        is_over = len(printed.output) <= LIMIT
    except TimeoutError:
        raise ProgramTimeout(f"took longer than {timeout:.0f} s", bytes(printed.errors)) from None
    finally:
        if alone and not is_over:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
        # Kills it, and does not wait for what it may have started, which could hold the pipe for long.
        transport.close()
        await printed.exited
    if not is_over:
        raise ProgramError("printed too much")
    code = transport.get_returncode()
    assert code is not None
    return Printed(code, bytes(printed.output), bytes(printed.errors))


def _found(command: Sequence[str]) -> list[str]:
    """Return the words of a program; one with a relative path is beside the configuration file."""
    program, *rest = command
    return [str(environment.beside(Path(program))) if os.sep in program else program, *rest]


class _Printed(asyncio.SubprocessProtocol):
    """What a program prints, at most `LIMIT` bytes and some.

    Attributes:
        complete: done when it has ended and closed its output, or printed too much.
        exited: done when it has ended.

    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.output = bytearray()
        self.errors = bytearray()
        self.complete: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        """As its base class."""
        assert isinstance(data, bytes)
        if self.complete.done():
            return
        if fd == 2:
            self.errors += data
            del self.errors[:-LIMIT_ERRORS]
            return
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
