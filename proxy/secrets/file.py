"""A secret in a file, read again when the file changes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import ClassVar

from pydantic import PrivateAttr

from proxy import encoding
from proxy.errors import SecretError
from proxy.secrets import Source

_WRITTEN = 0.5  # seconds that a file may be empty while somebody writes it in place
_PAUSE = 0.01  # seconds


class File(Source):
    """``{ file = "PATH" }``; ``~`` is the home directory."""

    kind: ClassVar[str] = "file"
    file: Path
    _seen: tuple[object, str] | None = PrivateAttr(default=None)
    _empty_since: float | None = PrivateAttr(default=None)

    @property
    def where(self) -> str:
        """As `Source.where`."""
        return f"the file {self.file}"

    async def read(self) -> str:
        """As `Source.read`; one ``stat`` when nothing changed. It waits for one that is just being written."""
        try:
            path = self.file.expanduser()
            stat = path.stat()
            # A mounted secret is replaced by a rename, an edited one keeps its inode.
            state = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if self._seen is None or self._seen[0] != state:
                content = path.read_bytes()
                if self._is_being_written(content):
                    await asyncio.sleep(_PAUSE)
                    return await self.read()
                self._seen = (state, self._text(content))
        except OSError as failure:
            raise SecretError(f"{self.where} can't be read: {failure.strerror}") from None
        except (ValueError, RuntimeError):
            raise SecretError(f"{self.where} is no path on this machine") from None
        return self._seen[1]

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
