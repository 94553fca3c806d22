"""Files that hold secrets: read only when they are safe, replaced as a whole or not at all.

What is written is either the old content or the new one after any crash. Nothing here knows what it holds.
"""

from __future__ import annotations

import io
import os
import secrets
import shlex
import stat as modes
from contextlib import suppress
from pathlib import Path

from proxy.errors import StoreError

Signature = tuple[int, ...]
"""Differs when the file does: device, inode, size, both times, mode and owner."""

_TEMPORARY = ".tmp-"


def signature(stat: os.stat_result) -> Signature:
    """Return what tells whether a file has changed."""
    times = stat.st_mtime_ns, stat.st_ctime_ns
    return stat.st_dev, stat.st_ino, stat.st_size, *times, stat.st_mode, stat.st_uid


def refuse_unsafe(path: Path, stat: os.stat_result) -> None:
    """Let only a regular file of this user's pass that no one else can read or write.

    Raises:
        StoreError: it is none; the text names the command that mends it.

    """
    quoted = shlex.quote(str(path))
    if modes.S_ISLNK(stat.st_mode):
        raise StoreError(f"is a symbolic link; set tokens.path to where it leads, or: rm {quoted}")
    if not modes.S_ISREG(stat.st_mode):
        raise StoreError(f"is not a regular file; mend it with: mv {quoted} {quoted}.old")
    if os.name != "posix":  # pragma: no cover  # there, a user's own folder is what protects it
        return
    if stat.st_uid != os.geteuid():
        raise StoreError(f"belongs to another user; mend it with: sudo chown {os.geteuid()} {quoted}")
    if stat.st_mode & 0o077:
        raise StoreError(f"is open to other users; mend it with: chmod 600 {quoted}")


def read_safely(path: Path) -> tuple[Signature, bytes] | None:
    """Return signature and content of `path`, or None when there is no such file.

    Raises:
        StoreError: as `refuse_unsafe`.
        OSError: it can't be read.

    """
    try:
        refuse_unsafe(path, path.lstat())
        # O_NONBLOCK and the second look: in between it may have become a pipe or somebody else's.
        descriptor = os.open(path, os.O_RDONLY | _flag("O_NOFOLLOW") | _flag("O_NONBLOCK"))
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        stat = os.fstat(descriptor)
        refuse_unsafe(path, stat)
        return signature(stat), file.read()


def replace(path: Path, content: bytes) -> None:
    """Make `content` what `path` holds, durably, mode 0600.

    Raises:
        OSError: that failed, and the file is as it was; or only its folder couldn't be synced.

    """
    temporary = path.with_name(f"{path.name}{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
    try:
        with _created(temporary) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove what killed writers left. Only under the lock that all writers hold, so that none is alive."""
    for leftover in path.parent.iterdir():
        if leftover.name.startswith(path.name + _TEMPORARY):
            with suppress(OSError):
                leftover.unlink()


def set_aside(path: Path) -> Path:
    """Rename `path` to the first free ``….damaged-N``, and return that.

    Raises:
        OSError: that failed, and the file is as it was.

    """
    target = _reserved(path)
    try:
        path.replace(target)
    except OSError:
        target.unlink()
        raise
    _sync_folder(path.parent)
    return target


def _reserved(path: Path) -> Path:
    # An empty file keeps the name free of others' until the rename, which would replace theirs.
    number = 1
    while True:
        target = path.with_name(f"{path.name}.damaged-{number}")
        try:
            _created(target).close()
            return target
        except FileExistsError:
            number += 1


def _created(path: Path) -> io.BufferedWriter:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _flag("O_NOFOLLOW")
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _sync_folder(path: Path) -> None:
    if os.name != "posix":  # pragma: no cover  # folders can't be opened there
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flag(name: str) -> int:
    return int(getattr(os, name, 0))
