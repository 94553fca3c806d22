"""How servers read a path that are lenient, each in another way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

Reader = Callable[[bytes], bytes]


def percent(path: bytes) -> bytes:
    return unquote_to_bytes(path)


def with_u(path: bytes) -> bytes:
    """As IIS: ``%u002e`` beside ``%2e``."""
    plain = re.sub(rb"(?i)%u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)).encode("utf-8", "replace"), path)
    return unquote_to_bytes(plain)


def _overlong(path: bytes, continues: Callable[[int], bool]) -> bytes:
    """As decoders of UTF-8 that do not ask for the shortest form."""
    out, at = bytearray(), 0
    while at < len(path):
        lead = path[at]
        size = 2 if 0xC0 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF8 else 0
        size = size or (5 if 0xF8 <= lead < 0xFC else 6 if 0xFC <= lead < 0xFE else 1)
        rest = path[at + 1 : at + size]
        if size > 1 and len(rest) == size - 1 and all(map(continues, rest)):
            number = lead & (0x7F >> size)
            for byte in rest:
                number = number << 6 | byte & 0x3F
            out += bytes([number]) if number < 0x80 else path[at : at + size]
            at += size
        else:
            out.append(lead)
            at += 1
    return bytes(out)


def overlong(path: bytes) -> bytes:
    return _overlong(unquote_to_bytes(path), lambda byte: byte & 0xC0 == 0x80)


def sloppily_overlong(path: bytes) -> bytes:
    return _overlong(unquote_to_bytes(path), lambda byte: byte >= 0x20)


def normalised(path: bytes) -> bytes:
    """As those who make plain letters of wide ones."""
    return normalize("NFKC", unquote_to_bytes(path).decode("utf-8", "replace")).encode()


def dropping(path: bytes) -> bytes:
    """As those who drop what is no UTF-8, and what can't be seen."""
    text = unquote_to_bytes(path).decode("utf-8", "ignore")
    return re.sub("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]", "", text).encode()


READERS: list[Reader] = [percent, with_u, overlong, sloppily_overlong, normalised, dropping]


def segments(path: bytes, *, params: bool, spaces: bool, ends: bytes) -> Iterator[bytes]:
    """Segments as one sees them who overlooks parameters, spaces, or what follows one of `ends`."""
    for segment in re.split(rb"[/\\]", path):
        if params:
            segment = segment.partition(b";")[0]
        for end in ends:
            segment = segment.partition(bytes([end]))[0]
        yield segment.strip(bytes(range(33))) if spaces else segment


def climbs_out(path: bytes, base: bytes) -> bool:
    """Whether somebody resolves a path to something that is not below `base`."""
    for params, spaces, ends in product((True, False), (True, False), (b"", b"\0", b"?#")):
        depth = 0
        for segment in segments(path[len(base) :], params=params, spaces=spaces, ends=ends):
            depth += -1 if segment == b".." else 0 if segment in (b"", b".") else 1
            if depth < 0:
                return True
    return False


def decodings(path: bytes) -> Iterator[bytes]:
    """A path, and whatever readers make of it when they decode it again and again."""
    for reader in READERS:
        seen = path
        for _ in range(16):
            yield seen
            plain = reader(seen)
            if plain == seen:
                break
            seen = plain
