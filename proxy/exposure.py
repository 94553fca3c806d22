"""What other users of this machine could change or read: told at start, since only users know whether it matters.

Refused elsewhere are secrets in a configuration that others can read, and a token store that others can open.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path


def of_file(path: Path, *, secret: bool = False, named: bool = True) -> Iterator[str]:
    """Yield what is wrong with a file that says what this process does.

    Args:
        path: of the file; none is there, nothing is wrong.
        secret: whether nobody else is to read it.
        named: whether it was named by the user, who then knows whose it is, rather than found.

    """
    if os.name != "posix" or not path.is_file():
        return
    found = path.stat()
    if not named and found.st_uid not in (0, os.geteuid()):
        yield f"{path} belongs to another user, who may say in it what is sent where, and which programs are run"
    if not _is_reachable(path):
        return
    quoted = shlex.quote(str(path))
    if found.st_mode & stat.S_IWOTH:
        yield f"{path} can be changed by every user of this machine; right would be chmod o-w {quoted}"
    elif secret and found.st_mode & stat.S_IROTH:
        yield f"{path} can be read by every user of this machine; right would be chmod 600 {quoted}"
    yield from of_folder(path.absolute().parent)


def of_folder(path: Path) -> Iterator[str]:
    """Yield what is wrong with a folder whose files others must not exchange."""
    if os.name != "posix" or not path.is_dir() or not _is_reachable(path):
        return
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        quoted = shlex.quote(str(path))
        yield f"files in {path} can be exchanged by every user of this machine; right would be chmod o-w {quoted}"


def _is_reachable(path: Path) -> bool:
    """Whether no folder above keeps others out."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
