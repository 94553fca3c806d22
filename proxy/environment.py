"""The environment as the configuration sees it: the process's own, and below it the ``.env`` file.

Nothing is ever written into ``os.environ``: what a ``.env`` file says is for us, not for the programs that
we start. Nor is what is the proxy's own in the environment. Each reading of the configuration has an `Environment`
of its own, so that one that is not adopted changes nothing.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import parse_stream

PREFIX = "COUNTERSIGN_"


@dataclass(eq=False)
class Environment:
    """What one reading of the configuration has found beside the process's own environment.

    Attributes:
        dotenv: the variables of the ``.env`` file.
        malformed: the numbers of its lines that are ignored, since they set no variable.
        withheld: names of variables that the programs that we start do not get.
        folder: where the configuration file is, absolute; None without a file.

    """

    dotenv: dict[str, str] = field(default_factory=dict, repr=False)
    malformed: tuple[int, ...] = ()
    withheld: frozenset[str] = frozenset()
    folder: Path | None = None

    @contextmanager
    def staged(self) -> Iterator[None]:
        """Make this the `current` one in the block, and in tasks and threads that copy its context."""
        token = _staged.set(self)
        try:
            yield
        finally:
            _staged.reset(token)

    def adopt(self) -> None:
        """Make this the `current` one wherever no other one is staged."""
        _adopted[0] = self


_adopted = [Environment()]
_staged: ContextVar[Environment | None] = ContextVar("environment", default=None)


def current() -> Environment:
    """Return the environment that is staged here, or else the adopted one."""
    return _staged.get() or _adopted[0]


def get(name: str) -> str | None:
    """Return a variable's value, None if it is not set."""
    return os.environ.get(name, current().dotenv.get(name))


def for_programs() -> dict[str, str]:
    """Return the environment of a program that we start: ours, without what is for us alone.

    Any other process of the user can read it, and what it passes it on to.
    """
    withheld = current().withheld
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(PREFIX) and name not in withheld
    }


def beside(path: Path) -> Path:
    """Return a path of the configuration: a relative one begins where the file is, wherever the process was started."""
    folder = current().folder
    return path if folder is None or str(path).startswith("~") else folder / path


def read_dotenv(path: Path | None) -> None:
    """Take over what `path` says, in place of what an earlier call took; no file, or a missing one, says nothing."""
    text = path.read_text(encoding="utf-8-sig") if path is not None and path.is_file() else ""
    lines = list(parse_stream(io.StringIO(text)))
    here = current()
    here.dotenv = {line.key: line.value for line in lines if line.key is not None and line.value is not None}
    here.malformed = tuple(_number(line.original.string, line.original.line) for line in lines if line.error)


def _number(text: str, begin: int) -> int:
    """Return the number of the first line of `text` that is not blank, where `text` begins in line `begin`."""
    return begin + text[: len(text) - len(text.lstrip())].count("\n")
