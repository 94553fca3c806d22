"""What nobody else is to read: this process's memory, which holds secrets."""

from __future__ import annotations

import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4  # <sys/prctl.h>


def forbid() -> None:
    """Leave no core dump, and let no other process of the same user look into this one (prctl(2), Linux).

    Forked processes inherit it; programs that they become don't. Where the system can't, nothing happens.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            # A limit alone does not keep a core dump from a program that /proc/sys/kernel/core_pattern names.
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
