"""How long an upstream keeps an idle connection: the ``Keep-Alive`` field of its responses (RFC 2068, section 19.7.1).

A request that is sent while the upstream closes the connection is lost, and one that is not idempotent can't be
repeated. So a connection is not used in the last second of the time that the upstream gives. Only an auth flow uses
it until the end of that time: its next request follows at once, and needs this connection.
"""

from __future__ import annotations

import re
from functools import lru_cache

MARGIN = 1.0  # seconds
_PARAMETER = re.compile(rb'(?:^|[,;\s])(timeout|max)\s*=\s*"?(\d{1,9}(?:\.\d{0,9})?)', re.IGNORECASE)


@lru_cache(maxsize=128)
def idle_time(value: bytes) -> float | None:
    """Return for how many seconds the upstream keeps an idle connection; None if it does not say.

    Args:
        value: the values of all ``Keep-Alive`` fields, joined by commas. The shortest time counts; what can't be
            read is ignored. ``max=0`` (no further request) means 0 seconds; other values of ``max`` count for
            nothing, since servers send ``Connection: close`` with the last response.

    """
    times = []
    for name, number in _PARAMETER.findall(value):
        if name.lower() == b"timeout":
            times.append(float(number))
        elif not float(number):
            times.append(0.0)
    return min(times, default=None)
