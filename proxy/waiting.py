"""Whether an HTTP answer says to wait, and how long (RFC 9110, section 10.2.3, and fields that APIs send)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

_EPOCH = 1e8  # a reset above is a date, below it is seconds from now
_MILLISECONDS = 1e11  # and above this one in milliseconds
_NUMBER = re.compile(r"\d{1,20}(?:\.\d+)?")
_RESETS = frozenset({b"ratelimit-reset", b"x-ratelimit-reset", b"x-rate-limit-reset"})


def is_throttling(status: int, fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether an answer means "too many requests" (RFC 6585, section 4, and what real APIs do)."""
    if status == 429:
        return True
    if status not in (403, 503):
        return False
    names = {name.lower(): value for name, value in fields}
    return b"retry-after" in names or (status == 403 and names.get(b"x-ratelimit-remaining", b"").strip() == b"0")


def told_wait(fields: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds that an answer says to wait, at `now` (epoch seconds), or None.

    ``Retry-After`` goes before the reset of a rate limit. Of several values the longest counts; what is no
    time is as if it were missing.
    """
    waits = [_retry_after(value, now) for name, value in fields if name.lower() == b"retry-after"]
    told = [wait for wait in waits if wait is not None]
    if not told:
        resets = [_reset(value, now) for name, value in fields if name.lower() in _RESETS]
        told = [reset for reset in resets if reset is not None]
    return max(told, default=None)


def _retry_after(value: bytes, now: float) -> float | None:
    text = value.decode("latin-1").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        # A date without a zone is GMT (RFC 9110, section 5.6.7), and not the time of this machine's place.
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, seconds - now)


def _reset(value: bytes, now: float) -> float | None:
    text = value.decode("latin-1").strip()
    if not _NUMBER.fullmatch(text):
        return None
    reset = float(text)
    if reset > _MILLISECONDS:
        reset /= 1000
    return max(0.0, reset - now) if reset > _EPOCH else reset


def whole_seconds(seconds: float) -> int:
    """As ``Retry-After`` has them: rounded up, at least 1."""
    return max(1, math.ceil(seconds))
