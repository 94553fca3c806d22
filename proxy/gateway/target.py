"""The request target: what may pass, and where it points.

A target is passed on byte for byte or refused (RFC 9112, section 3.2); it is never repaired. Decoding serves
to judge only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from unicodedata import combining, normalize
from urllib.parse import unquote_to_bytes

from proxy.errors import MalformedRequest

# Raw controls, space, "#", backslash, DEL and everything beyond ASCII.
_FORBIDDEN = re.compile(rb"[\x00-\x20\x7f-\xff#\\]")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)([^#]*)", re.IGNORECASE)
# Overlong UTF-8, which lenient decoders take for ASCII; of its last byte some don't even see whether it continues.
_LEADS = rb"\xc0|\xc1|\xe0[\x80\x81]|\xf0\x80[\x80\x81]|\xf8\x80\x80[\x80\x81]|\xfc\x80\x80\x80[\x80\x81]"
_OVERLONG = re.compile(rb"(?s:(%b)([\x80-\xbf]))" % _LEADS)
_SLOPPY = re.compile(rb"(?s:(%b)(.))" % _LEADS)
_UNICODE = re.compile(rb"%u([0-9A-F]{4})", re.IGNORECASE)  # as IIS and old JavaScript write it
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)  # Unicode's Default_Ignorable_Code_Point
_SEPARATOR = re.compile(r"[/\\\u2215\u2216\u2044]")
# Some servers cut a segment off here before they resolve it: "..;x" is "..", and so is "..?x" once decoded.
_CUT = re.compile(r"[;?#\0].*", re.DOTALL)
_REMOVED = re.compile(r"[\t\r\n]")  # by parsers of the WHATWG's URLs, wherever they stand
_PADDING = "".join(map(chr, (*range(0x21), 0x7F)))
# Longer runs of combining marks are sorted in a time that grows with their square (UAX #15, Stream-Safe Text Format).
_MARKS = re.compile(rb"[^\0]{31}")
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
    decoded = _decoded(path)
    # What others read in it depends on what stands in it, decoded as often as it can be.
    if any(map(_SLOPPY.search, decoded)):
        _decoded(path, _shortest)
        _decoded(path, _sloppy)
    if any(not each.isascii() and _normalised(each) != each for each in decoded):
        _decoded(path, _normalised)


def _decoded(path: bytes, reader: Callable[[bytes], bytes] | None = None) -> list[bytes]:
    """Decode again and again as one reader does, and return what comes out each time."""
    seen = [path]
    for _ in range(_DEPTH):
        if _has_dot_segment(path):
            raise MalformedRequest("the request target holds a dot segment")
        if b"%" not in path:
            return seen
        decoded = _UNICODE.sub(_character, unquote_to_bytes(path))
        if reader is not None:
            decoded = reader(decoded)
        if decoded == path:
            return seen
        path = decoded
        seen.append(path)
    raise MalformedRequest("the request target is encoded too many times")


def _shortest(path: bytes) -> bytes:
    return _OVERLONG.sub(_plain, path)


def _sloppy(path: bytes) -> bytes:
    return _SLOPPY.sub(_plain, path)


def _normalised(path: bytes) -> bytes:
    """As where names are normalised: full-width dots, slashes and percent signs become plain ones."""
    return _nfkc(path.decode("utf-8", "ignore")).encode()


def _nfkc(text: str) -> str:
    if _MARKS.search(bytes(map(combining, text))):
        raise MalformedRequest("the request target holds more than 30 combining marks in a row")
    return normalize("NFKC", text)


def _has_dot_segment(path: bytes) -> bool:
    # What is no UTF-8, or can't be seen, may be overlooked.
    text = path.decode("utf-8", "ignore")
    if not path.isascii():
        text = _UNSEEN.sub("", _nfkc(text))
    segments = _SEPARATOR.split(_REMOVED.sub("", text))
    # Padding first: a NUL may be overlooked as well as end the segment.
    return any(_CUT.sub("", segment.lstrip(_PADDING)).rstrip(_PADDING) in (".", "..") for segment in segments)


def _plain(match: re.Match[bytes]) -> bytes:
    return bytes([(match[1][-1] & 1) << 6 | match[2][0] & 0x3F])


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
