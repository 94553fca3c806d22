"""How many files this process may have open, and how many clients that is enough for (setrlimit(2)).

Each client that is served may need two: its connection, and one to the upstream. More are not let in, so that
those who are in never lack the second one.
"""

from __future__ import annotations

import sys
from contextlib import suppress

_MOST = 1 << 16
_OTHERS = 128  # files: listeners, the admin listener's clients, idle connections, stores, name lookups


def raise_limit() -> None:
    """Have as many files open as the system lets this process.

    The usual 1,024 are meant for programs that use select(2): the default of 1,024 clients needs twice as many.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a lower one of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room() -> int:
    """Return how many clients can be served at once."""
    try:
        import resource
    except ImportError:
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else clients(soft)


def clients(limit: int) -> int:
    """Return for how many clients `limit` files are enough."""
    return max(1, (limit - min(_OTHERS, limit // 2)) // 2)
