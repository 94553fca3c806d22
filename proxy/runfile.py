"""Where the admin listener of a running process is, if no configuration says so: for ``countersign health``.

A note is a file of this user's alone, named by the configuration file and the process. It is removed when the
process exits; one of a process that was killed is ignored. Nothing heavy is imported here.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".admin"


def write(config: Path | None, address: str) -> None:
    """Note `address` for this process, until it exits.

    Args:
        config: the configuration file, None if there is none.
        address: where its admin listener is.

    """
    folder = _folder()
    if folder is None:
        return
    note = folder / f"{_name(config)}-{os.getpid()}{_SUFFIX}"
    with suppress(OSError):  # without a place to write, --admin remains
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        for other in folder.glob(f"*{_SUFFIX}"):
            if not _runs(_process(other)):
                other.unlink(missing_ok=True)
        with os.fdopen(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(address)
        atexit.register(_remove, note, os.getpid())


def _remove(note: Path, owner: int) -> None:
    if os.getpid() == owner:  # a worker inherits this
        with suppress(OSError):
            note.unlink()


def read(config: Path | None) -> str | None:
    """Return what the youngest process that runs with `config` has noted; None if there is none."""
    folder = _folder()
    if folder is None:
        return None
    found: list[tuple[int, str]] = []
    with suppress(OSError):
        for note in folder.glob(f"{_name(config)}-*{_SUFFIX}"):
            found += _read(note)
    return max(found)[1] if found else None


def _read(note: Path) -> Iterator[tuple[int, str]]:
    with suppress(OSError, UnicodeDecodeError):
        state = note.lstat()
        if stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid() and _runs(_process(note)):
            yield state.st_mtime_ns, note.read_text(encoding="ascii")


def _process(note: Path) -> int:
    number = note.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _runs(process: int) -> bool:
    if not process:
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _folder() -> Path | None:
    """Return where notes are: in the session's folder, else in that of the state; None where there is neither."""
    if os.name != "posix":
        return None
    runtime, state = os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("XDG_STATE_HOME", "")
    base = next((Path(path) for path in (runtime, state) if os.path.isabs(path)), None)  # noqa: PTH117  # of a text
    try:
        return (base or Path.home() / ".local" / "state") / "countersign"
    except RuntimeError:
        return None  # this user has no home


def _name(config: Path | None) -> str:
    path = "" if config is None else str(config.resolve())
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
