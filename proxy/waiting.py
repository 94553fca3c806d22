"""Whether a response says to wait, and how long (RFC 9110, section 10.2.3, and fields that APIs send)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHORTEST = 0.05  # seconds of waiting that are worth showing; less is 0.0 with one decimal
_EPOCH = 1e8  # a reset above is a date, below it is seconds from now
_MILLISECONDS = 1e11  # and above this one in milliseconds
_MOST = 32  # values that are read of one field
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]+)?")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.?)*+(?:"|$)')  # to the end if not closed: a search from each quote takes long


def is_throttling(status: int, fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a response means "too many requests" (RFC 6585, section 4, and what real APIs do)."""
    if status == 429:
        return True
    if status not in (403, 503):
        return False
    names = {name.lower(): value for name, value in fields}
    if b"retry-after" in names or b"retry-after-ms" in names:
        return True
    return status == 403 and names.get(b"x-ratelimit-remaining", b"").strip() == b"0"


def told_wait(fields: Sequence[tuple[bytes, bytes]], now: float) -> float | None:
    """Seconds that a response says to wait, at `now` (epoch seconds), or None.

    The first of `_SOURCES` that states a time decides. Of several values the longest counts; what is no time is
    as if it were missing.
    """
    values: dict[bytes, str] = {}
    for name, value in fields:
        lower = name.lower()
        if lower in _NAMES:
            text = value.decode("latin-1")
            values[lower] = f"{values[lower]},{text}" if lower in values else text
    for names, read in _SOURCES:
        told = [wait for name in names if name in values for wait in read(values[name], now)]
        if told:
            return max(told)
    return None


def _members(text: str) -> list[str]:
    return [part.strip() for part in text.split(",", _MOST)[:_MOST]]


def _times(text: str, number: Callable[[float], float], now: float) -> Iterator[float]:
    """Seconds until each of the times in a list: numbers are read by `number`, others are dates."""
    parts = _members(text)
    while parts:
        part = parts.pop(0)
        if _NUMBER.fullmatch(part):
            yield max(0.0, number(float(part)))
            continue
        date = _date(f"{part}, {parts[0]}") if parts else None  # its day of the week ends with a comma
        if date is not None:
            parts.pop(0)
        else:
            date = _date(part)
        if date is not None:
            yield max(0.0, date - now)


def _date(text: str) -> float | None:
    """Epoch seconds of a date as HTTP or ISO 8601 has it; one without a zone is GMT (RFC 9110, section 5.6.7)."""
    for parse in (parsedate_to_datetime, _iso_8601):
        try:
            when = parse(text)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            pass
    return None


def _iso_8601(text: str) -> datetime:
    """Read a date that may have small letters (RFC 3339, section 5.6), or end with " UTC" as Ruby and Go print it."""
    return datetime.fromisoformat(text.upper().removesuffix(" UTC"))


def _retry_after(text: str, now: float) -> Iterator[float]:
    return _times(text, lambda seconds: seconds, now)


def _milliseconds(text: str, now: float) -> Iterator[float]:  # noqa: ARG001  # as all readers are called
    return (float(part) / 1000 for part in _members(text) if _NUMBER.fullmatch(part))


def _seconds(text: str, now: float) -> Iterator[float]:  # noqa: ARG001  # as all readers are called
    return (float(part) for part in _members(text) if _NUMBER.fullmatch(part))


def _resets(text: str, now: float) -> Iterator[float]:
    """Seconds until a reset that is given in seconds, as an epoch in seconds or milliseconds, or as a date."""

    def until(reset: float) -> float:
        if reset > _MILLISECONDS:
            reset /= 1000
        return reset - now if reset > _EPOCH else reset

    return _times(text, until, now)


def _rate_limit(text: str, now: float) -> Iterator[float]:  # noqa: ARG001  # as all readers are called
    """Seconds until a ``RateLimit`` resets (draft-ietf-httpapi-ratelimit-headers).

    Up to version 7 it is a dictionary: ``limit=10, remaining=0, reset=30``. Since then it has a member for each
    policy, ``"default";r=0;t=30``: those that have least left are the ones that refuse.
    """
    left: list[tuple[float, float | None]] = []
    for member in _members(_QUOTED.sub("", text)):
        pairs = (pair.partition("=") for pair in member.split(";"))
        numbers = {key.strip().lower(): float(value) for key, _, value in pairs if _NUMBER.fullmatch(value.strip())}
        if "reset" in numbers:
            yield numbers["reset"]
        elif "t" in numbers or "r" in numbers:
            left.append((numbers.get("r", 0.0), numbers.get("t")))
    least = min((remaining for remaining, _ in left), default=0.0)
    yield from (reset for remaining, reset in left if remaining == least and reset is not None)


_SOURCES: tuple[tuple[tuple[bytes, ...], Callable[[str, float], Iterator[float]]], ...] = (
    ((b"retry-after",), _retry_after),
    ((b"retry-after-ms",), _milliseconds),
    ((b"ratelimit",), _rate_limit),
    ((b"ratelimit-reset", b"x-ratelimit-reset", b"x-rate-limit-reset"), _resets),
    ((b"x-ratelimit-reset-after",), _seconds),
)
_NAMES = frozenset(name for names, _ in _SOURCES for name in names)


def whole_seconds(seconds: float) -> int:
    """As ``Retry-After`` has them: rounded up, at least 1."""
    return max(1, math.ceil(seconds))
