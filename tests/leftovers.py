"""What a test has left behind in its own process."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_OPEN = Path("/proc/self/fd")
COUNTABLE = _OPEN.exists()


@dataclass(frozen=True)
class Held:
    """Tasks and file descriptors of this process.

    One that is less than another holds no more of either: what an earlier test has forgotten may go while the next
    one runs, so that fewer are no mistake.
    """

    tasks: int
    files: int

    @classmethod
    def now(cls) -> Self:
        """Count them, without what only waits for being collected."""
        gc.collect()
        return cls(len(asyncio.all_tasks()), len(list(_OPEN.iterdir())))

    def __add__(self, other: Held) -> Held:
        return Held(self.tasks + other.tasks, self.files + other.files)

    def __sub__(self, other: Held) -> Held:
        return Held(self.tasks - other.tasks, self.files - other.files)

    def __le__(self, other: Held) -> bool:
        return self.tasks <= other.tasks and self.files <= other.files


def open_files() -> list[str]:
    """What this process has open, for a message."""
    return [str(link.readlink()) for link in _OPEN.iterdir() if link.is_symlink()]


async def at_most(wanted: Held, patience: float) -> None:
    """Wait until there is no more than that.

    Raises:
        AssertionError: there still is after `patience` seconds; says what.

    """
    deadline = asyncio.get_running_loop().time() + patience
    while not (held := Held.now()) <= wanted:
        late = asyncio.get_running_loop().time() > deadline
        assert not late, f"{held}, wanted {wanted}: {asyncio.all_tasks()}, {open_files()}"
        await asyncio.sleep(0.05)
