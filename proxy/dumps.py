"""What nobody else is to read: this process's memory, which holds secrets."""

from __future__ import annotations

import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4  # <sys/prctl.h>
_before: list[int] = []  # the limit in bytes that held before


def forbid(*, for_now: bool = False) -> None:
    """Leave no core dump, and let no other process of the same user look into this one (prctl(2), Linux).

    Forked processes inherit it; programs that they become inherit the limit only. Where the system can't, nothing
    happens.

    Args:
        for_now: so that `allow` can undo it.

    """
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard if for_now else 0))
        if not _before:
            _before.append(soft)
    # A limit alone does not keep a core dump from a program that /proc/sys/kernel/core_pattern names.
    _set_dumpable(0)


def allow() -> None:
    """Undo what was forbidden for now: a command forbids before it has read that ``server.dumpable`` allows."""
    if not _before:
        return
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (_before.pop(), resource.getrlimit(resource.RLIMIT_CORE)[1]))
    _set_dumpable(1)


def _set_dumpable(value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, value, 0, 0, 0)
