"""The content codings that can be read here, and how an upstream is asked for no other (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import lru_cache

_READABLE = frozenset({b"gzip", b"x-gzip", b"deflate"})
_OFFERED = (b"gzip", b"deflate")  # where the client takes any
_IDENTITY = b"identity"
_NOTHING = re.compile(rb"(?:0(?:\.0{0,3})?)?")  # weights that refuse


@lru_cache(maxsize=128)
def readable_encodings(accepted: bytes) -> bytes:
    """Return the ``Accept-Encoding`` that leaves of a client's what can be read here; ``identity`` if that is nothing.

    Args:
        accepted: the client's fields, joined by commas; empty if it sent none. It then takes any coding in theory,
            but most such clients can't decode.

    """
    members = dict(_members(accepted))
    kept: dict[bytes, bytes] = {}
    for coding, weight in members.items():
        if coding in _READABLE or coding == _IDENTITY or (coding == b"*" and _refuses(weight)):
            kept[coding] = weight
        elif coding == b"*":
            kept |= {each: weight for each in _OFFERED if each not in members}
    if not any(coding in _READABLE and not _refuses(weight) for coding, weight in kept.items()):
        return _IDENTITY
    return b", ".join(coding + weight for coding, weight in kept.items())


def _members(accepted: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Coding and weight (``;q=…`` or nothing) of each member."""
    for member in accepted.split(b","):
        coding, _, weight = member.partition(b";")
        if coding := coding.strip().lower():
            yield coding, b";" + weight.replace(b" ", b"") if weight.strip() else b""


def _refuses(weight: bytes) -> bool:
    return bool(weight) and bool(_NOTHING.fullmatch(weight.lower().removeprefix(b";q=")))


def decoded(start: bytes, encoding: str, most: int) -> bytes:
    """Return the start of a body as it was before ``Content-Encoding``; nothing if that can't be read.

    Args:
        start: bytes of the body, which may be cut off anywhere.
        encoding: the field's value: codings in the order in which they were applied.
        most: how many bytes to return.

    """
    for coding in reversed([each.strip().lower() for each in encoding.split(",")]):
        if coding in ("gzip", "x-gzip"):
            start = _inflated(start, 16 + zlib.MAX_WBITS, most)
        elif coding == "deflate":
            # With zlib's frame (RFC 9110, section 8.4.1.2), or without, as some servers send it.
            start = _inflated(start, zlib.MAX_WBITS, most) or _inflated(start, -zlib.MAX_WBITS, most)
        elif coding not in ("", "identity"):
            return b""
    return start


def _inflated(start: bytes, window: int, most: int) -> bytes:
    try:
        return zlib.decompressobj(window).decompress(start, most)
    except zlib.error:
        return b""
