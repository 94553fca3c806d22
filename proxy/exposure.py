"""What other users of this machine could change or read: of files that say what this process does.

What they could change is refused (`require_ours`). What they could only read, or exchange later, is a warning, since
only users know whether it matters. Refused elsewhere are secrets in a configuration that others can read, and a
token store that others can open.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from proxy.errors import ConfigError

_LINKS = 40  # symbolic links that Linux follows in one path
_READ_ONLY = getattr(os, "ST_RDONLY", 1)
_ACL = "system.posix_acl_access"

Step = tuple[str, os.stat_result, bool]


def require_ours(path: Path) -> None:
    """Refuse a file that another user, but root, owns or can write, or can replace by a folder that leads to it.

    What is mounted read-only passes, whoever owns it: so containers get their configuration and secrets.

    Raises:
        ConfigError: with every flaw, and the command that mends it.
        OSError: a part of the path can't be read.

    """
    found = list(flaws(path))
    if found:
        raise ConfigError("\n".join(f"{path}: {flaw}" for flaw in found))


def flaws(path: Path) -> Iterator[str]:
    """Yield what lets another user change what `path` leads to. Nothing if there is no such file."""
    if os.name != "posix" or not path.exists():
        return
    *folders, (name, file, is_read_only) = _steps(str(path.absolute()))
    for place, found, read_only in folders:
        if not read_only:
            yield from _of_step(place, found)
    if not is_read_only:
        yield from _of_final(name, file)


def _of_step(place: str, found: os.stat_result) -> Iterator[str]:
    quoted = shlex.quote(place)
    if not _is_trusted(found.st_uid):
        kind = "link" if stat.S_ISLNK(found.st_mode) else "folder"
        yield (
            f"the {kind} {place} belongs to another user ({found.st_uid}), who could replace it; "
            f"expected a place of your own, or: sudo chown {os.geteuid()} {quoted}"
        )
    elif stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_ISVTX:
        who = _writers(place, found)
        if who:
            yield f"other users can write the folder {place}, and so replace it; expected: {who} {quoted}"


def _of_final(place: str, found: os.stat_result) -> Iterator[str]:
    quoted = shlex.quote(place)
    if not _is_trusted(found.st_uid):
        yield (
            f"belongs to another user ({found.st_uid}), who could change it; expected one of your own or of root: "
            f"sudo chown {os.geteuid()} {quoted}"
        )
    who = _writers(place, found)
    if who:
        yield f"other users can write it; expected: {who} {quoted}"


def _steps(path: str) -> list[Step]:
    """Return each folder and link that leads to `path`, and what it leads to, with whether it is mounted read-only."""
    here, pending, links = "/", path.split("/")[::-1], 0
    steps = [_step(here, os.lstat(here))]
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if steps[-1][0] == here != "/":
                steps.pop()  # whoever owns it can't change what is above it
            here = os.path.dirname(here)  # noqa: PTH120  # of a text
            continue
        place = os.path.join(here, name)  # noqa: PTH118  # of a text
        found = os.lstat(place)
        if stat.S_ISLNK(found.st_mode) and place.startswith("/proc/"):
            found = os.stat(place)  # noqa: PTH116  # what an open file is: its link's text is no path
        if not stat.S_ISLNK(found.st_mode):
            steps.append(_step(place, found))
            here = place
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        steps.append((place, found, _is_read_only(here)))
        target = os.readlink(place)  # noqa: PTH115  # as a text
        pending += target.split("/")[::-1]
        here = "/" if target.startswith("/") else here
    return steps


def _step(place: str, found: os.stat_result) -> Step:
    return place, found, _is_read_only(place)


def _is_read_only(place: str) -> bool:
    return bool(os.statvfs(place).f_flag & _READ_ONLY)


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid()) or user == _outside()


@cache
def _outside() -> int | None:
    """Return as whom files of root appear in a user namespace that does not have root; None in others."""
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()]
        if any(int(first) == 0 for first, *_ in rows):
            return None
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _writers(place: str, found: os.stat_result) -> str:
    """Return the command that keeps other users from writing, empty if none can."""
    others = "o" if found.st_mode & stat.S_IWOTH else ""
    group = ""
    if found.st_mode & stat.S_IWGRP:
        if _has_acl(place):
            return "setfacl -b"
        group = "" if _is_private(found.st_gid) else "g"
    return f"chmod {group}{others}-w" if group or others else ""


def _has_acl(place: str) -> bool:
    """Whether a file has an access control list: then its mode's group bits say what that grants at most (acl(5))."""
    try:
        return _ACL in os.listxattr(place)
    except (OSError, AttributeError):
        return False  # no such thing here


def _is_private(group: int) -> bool:
    """Whether nobody but this user and root is in a group."""
    import grp
    import pwd

    ours = os.geteuid()
    try:
        members = grp.getgrgid(group).gr_mem
    except KeyError:
        return group == os.getegid() == ours  # as containers have it, without names
    try:
        users = {pwd.getpwnam(name).pw_uid for name in members}
    except KeyError:
        return False
    users |= {user.pw_uid for user in pwd.getpwall() if user.pw_gid == group}
    return users <= {0, ours}


# -- what is only told -------------------------------------------------------------------------------------


def of_secret(path: Path) -> Iterator[str]:
    """Yield what is wrong with a file that nobody else is to read; none is there, nothing is wrong."""
    if os.name == "posix" and path.is_file() and path.stat().st_mode & stat.S_IROTH and _is_reachable(path):
        yield f"{path} can be read by every user of this machine; expected: chmod 600 {shlex.quote(str(path))}"


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
