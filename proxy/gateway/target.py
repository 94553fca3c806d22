"""The request target: what may pass, and where it points.

A target is passed on byte for byte or refused (RFC 9112, section 3.2); it is never repaired. Decoding serves
to judge only.
"""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from proxy.errors import MalformedRequest

# Raw controls, space, "#", backslash, DEL and everything beyond ASCII.
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f-\xff#\\]")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
# Overlong UTF-8 that lenient decoders take for "." "/" and "\", with the top bits of its last byte right or not.
_LEADS = (rb"\xc0", rb"\xe0\x80", rb"\xf0\x80\x80", rb"\xf8\x80\x80\x80", rb"\xfc\x80\x80\x80\x80")
_HIGHER = (rb"\xc1", rb"\xe0\x81", rb"\xf0\x80\x81", rb"\xf8\x80\x80\x81", rb"\xfc\x80\x80\x80\x81")
_OVERLONG = re.compile(
    rb"(?:%b)(?:([\x2e\x6e\xae\xee])|[\x2f\x6f\xaf\xef])|(?:%b)([\x1c\x5c\x9c\xdc])"
    % (b"|".join(_LEADS), b"|".join(_HIGHER))
)
_UNICODE = re.compile(rb"%u([0-9A-F]{4})", re.IGNORECASE)  # as IIS and old JavaScript write it
_SEPARATOR = re.compile(r"[/\\\u2215\u2216\u2044]")
# Some servers cut a segment off here before they resolve it: "..;x" is "..", and so is "..?x" once decoded.
_CUT = re.compile(r"[;?#\0].*", re.DOTALL)
_REMOVED = re.compile(r"[\t\r\n]")  # by parsers of the WHATWG's URLs, wherever they stand
_PADDING = "".join(map(chr, (*range(0x21), 0x7F)))
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
        MalformedRequest: a segment is ``.`` or ``..`` after any number of decodings, to the most lenient of readers.

    """
    # Nearly all paths end here: no dot begins a segment, and nothing is encoded.
    if b"%" not in path and b"/." not in path and b";" not in path:
        return
    for _ in range(_DEPTH):
        if _has_dot_segment(path):
            raise MalformedRequest("the request target holds a dot segment")
        if b"%" not in path:
            return
        decoded = _UNICODE.sub(_character, unquote_to_bytes(path))
        if decoded == path:
            return
        path = _OVERLONG.sub(_plain, decoded)
    raise MalformedRequest("the request target is encoded too many times")


def _has_dot_segment(path: bytes) -> bool:
    text = path.decode("utf-8", "replace")
    if not path.isascii():
        # Full-width dots and the like become plain ones where names are normalised.
        text = normalize("NFKC", text)
    segments = _SEPARATOR.split(_REMOVED.sub("", text))
    # Padding first: a NUL may be overlooked as well as end the segment.
    return any(_CUT.sub("", segment.lstrip(_PADDING)).rstrip(_PADDING) in (".", "..") for segment in segments)


def _plain(match: re.Match[bytes]) -> bytes:
    return b"." if match[1] else b"\\" if match[2] else b"/"


def _character(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode("utf-8", "replace")


def split_absolute(target: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Scheme, authority and the rest of an absolute-form target, or None if it isn't one."""
    match = _ABSOLUTE.fullmatch(target)
    if not match:
        return None
    rest = match[3]
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return match[1].lower(), match[2], rest
