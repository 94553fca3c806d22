"""A secret in a file, read again when the file changes."""

from __future__ import annotations

import asyncio
import time
from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import PrivateAttr

from proxy import encoding
from proxy.errors import SecretError
from proxy.secrets import Source
from proxy.secrets._mounts import is_remote
from proxy.threads import Threads
from proxy.values import FilePath

_WRITTEN = 0.5  # seconds that a file may be empty while somebody writes it in place
_PAUSE = 0.01  # seconds
PATIENCE = 10.0  # seconds that a file may take that is on a disk that hangs, or is a pipe that nobody writes to


class File(Source):
    """``{ file = "PATH" }``; ``~`` is the home directory."""

    kind: ClassVar[str] = "file"
    file: FilePath
    _seen: tuple[object, str] | None = PrivateAttr(default=None)
    _reading: asyncio.Task[str] | None = PrivateAttr(default=None)
    _is_near: bool = PrivateAttr(default=False)  # whether a look at its state can't hang
    _empty_since: float | None = PrivateAttr(default=None)

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the file {self.file}"

    async def read(self) -> str:
        """As `Source.read`; one ``stat`` when nothing changed. It waits for one that is just being written."""
        try:
            if self._is_near and self._seen is not None and self._seen[0] == _state(self.file.expanduser()):
                return self._seen[1]
        except OSError as failure:
            raise self._unreadable(failure) from None
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="secret of a file")
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Shielded: the request that asked first may go away while others wait for the same content.
        return await asyncio.shield(self._reading)

    async def _read(self) -> str:
        while True:
            seen = self._seen
            try:
                async with asyncio.timeout(PATIENCE):
                    found = await asyncio.wrap_future(_threads(self.file).submit(self._look, seen))
            except TimeoutError:
                raise SecretError(f"{self.where} can't be read: no result within {PATIENCE:g} s") from None
            except OSError as failure:
                raise self._unreadable(failure) from None
            except (ValueError, RuntimeError):
                raise SecretError(f"{self.where} is no path on this machine") from None
            if found is None:
                assert seen is not None
                return seen[1]
            state, content = found
            if not self._is_being_written(content):
                self._seen = (state, self._text(content))
                return self._seen[1]
            await asyncio.sleep(_PAUSE)

    def _unreadable(self, failure: OSError) -> SecretError:
        return SecretError(f"{self.where} can't be read: {failure.strerror}")

    def _look(self, seen: tuple[object, str] | None) -> tuple[object, bytes] | None:
        """Return the file's state and content, None if the state is still the one that was seen. May hang."""
        path = self.file.expanduser()
        self._is_near = not is_remote(path.stat().st_dev)
        state = _state(path)
        return None if seen is not None and seen[0] == state else (state, path.read_bytes())

    async def read_anew(self) -> str:
        """As `Source.read_anew`: a change may have left its time and size as they were."""
        self._seen = None
        return await self.read()

    def _is_being_written(self, content: bytes) -> bool:
        """Whether it is as an editor or a shell leaves it for a moment, before the new text is there."""
        # By a clock of our own: a file system may cut a file first, and then note when.
        now = time.monotonic()
        self._empty_since = None if content else now if self._empty_since is None else self._empty_since
        return self._empty_since is not None and now - self._empty_since < _WRITTEN

    def _text(self, content: bytes) -> str:
        try:
            return content.decode(encoding.TEXT)
        except UnicodeDecodeError:
            pass  # raised outside: this exception has the secret on it
        raise SecretError(f"{self.where} {encoding.flaw(content)}")


def _state(path: Path) -> tuple[int, int, int]:
    # A mounted secret is replaced by a rename, an edited one keeps its inode.
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


@cache
def _threads(file: Path) -> Threads:
    """Return the thread of a file: whoever reads it, and whatever configuration names it."""
    return Threads(f"secret file {file}")
