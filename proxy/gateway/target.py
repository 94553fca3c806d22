"""The request target: what may pass, and where it points.

A target is passed on byte for byte or refused (RFC 9112, section 3.2); it is never repaired. Decoding serves
to judge only.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from proxy.errors import MalformedRequest

# Raw controls, space, "#", backslash, DEL and everything beyond ASCII.
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f-\xff#\\]")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
# Overlong UTF-8 that lenient decoders take for "." "/" and "\".
_OVERLONG = re.compile(rb"(?:\xc0|\xe0\x80|\xf0\x80\x80)([\xae\xaf])|\xc1\x9c")
_SEPARATOR = re.compile(rb"[/\\]")
_DEPTH = 8  # times that a path is decoded; deeper nesting is refused


def check_bytes(target: bytes) -> None:
    """Refuse what no request target may hold.

    Raises:
        MalformedRequest: empty, or raw bytes that are not allowed.

    """
    if not target or _FORBIDDEN.search(target):
        raise MalformedRequest("the request target holds a byte that must be percent-encoded")


def check_path(path: bytes) -> None:
    """Refuse dot segments in any encoding: what is forwarded must stay below the base path.

    Raises:
        MalformedRequest: a segment is ``.`` or ``..`` after any number of decodings.

    """
    # Nearly all paths end here: no dot begins a segment, and nothing is encoded.
    if b"%" not in path and b"/." not in path and b";" not in path:
        return
    for _ in range(_DEPTH):
        if _has_dot_segment(path):
            raise MalformedRequest("the request target holds a dot segment")
        if b"%" not in path:
            return
        decoded = unquote_to_bytes(path)
        if decoded == path:
            return
        path = _OVERLONG.sub(_plain, decoded)
    raise MalformedRequest("the request target is encoded too many times")


def _has_dot_segment(path: bytes) -> bool:
    # Some servers cut parameters off before they resolve a segment: "..;x" is "..".
    return any(segment.split(b";", 1)[0].strip(b" \t\x00\r\n") in (b".", b"..") for segment in _SEPARATOR.split(path))


def _plain(match: re.Match[bytes]) -> bytes:
    return {b"\xae": b".", b"\xaf": b"/"}.get(match[1] or b"", b"\\")


def split_absolute(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme, authority and the rest of an absolute-form target, or None if it isn't one."""
    match = _ABSOLUTE.fullmatch(target)
    if not match:
        return None
    rest = match[3]
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return match[1].lower(), match[2], rest
