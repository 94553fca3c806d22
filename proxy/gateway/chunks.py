"""Where a chunked body ends (RFC 9112, section 7.1), and how much it has that is no content.

The parser decodes the body and is fed the same bytes. What it knows and does not say is where the message ended. If the
two disagree, the request is refused.
"""

from __future__ import annotations

import re

_SIZE = re.compile(rb"(0*[0-9A-Fa-f]{1,16})(?:;[^\n]*)?\r\n")
_DIGITS = 18  # of a chunk's size, with the end of its line


class Chunks:
    """The framing of one body.

    Args:
        limit: bytes that extensions and trailers may have, all together.

    Attributes:
        ended: whether the body is complete.
        too_large: whether there was more than `limit`.

    """

    __slots__ = ("_extra", "_in_trailers", "_left", "_limit", "_line", "ended", "too_large")

    def __init__(self, limit: int) -> None:
        self.ended = self.too_large = False
        self._limit = limit
        self._left = 0  # bytes of the chunk under way, with the end of line behind it
        self._line = b""  # the beginning of a line
        self._in_trailers = False
        self._extra = 0

    def end(self, data: bytes, at: int) -> int:
        """Follow `data` from `at` on; return where the body ends, or the end of `data`."""
        size = len(data)
        while at < size and not self.too_large:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            stop = data.find(b"\n", at) + 1
            self._line += data[at : stop or size]
            at = stop or size
            if not stop:
                self.too_large = self._extra + len(self._line) > self._limit + _DIGITS
            elif self._take_line():
                return at
        return size

    def _take_line(self) -> bool:
        """Take a complete line; return whether it was the last one."""
        line, self._line = self._line, b""
        if self._in_trailers:
            self._count(len(line))
            self.ended = line == b"\r\n"
            return self.ended
        match = _SIZE.fullmatch(line)
        if match is None:
            return False  # malformed, which the parser finds, too
        self._count(max(len(line) - _DIGITS, 0))
        self._left = int(match[1], 16)
        self._in_trailers = not self._left
        self._left += 2 * bool(self._left)
        return False

    def _count(self, size: int) -> None:
        self._extra += size
        self.too_large = self._extra > self._limit
