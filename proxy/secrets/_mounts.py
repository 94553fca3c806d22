"""Which file systems may hang: those that another machine or another program serves."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # proc(5); other systems have none
_REMOTE = ("9p", "afs", "ceph", "cifs", "coda", "fuse", "gfs2", "lustre", "ncp", "nfs", "ocfs2", "smb", "virtiofs")


def is_remote(device: int) -> bool:
    """Whether the file system of a device (``st_dev``) may hang, as far as the system tells."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    return any(_kind(line).startswith(_REMOTE) for line in lines if line.split(" ", 3)[2:3] == [number])


def _kind(line: str) -> str:
    """Return the type of a mount, which follows the hyphen that ends a line's optional fields."""
    return line.partition(" - ")[2]
