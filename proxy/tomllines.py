"""The line of each key of a TOML document, which ``tomllib`` does not tell. For documents that it accepts.

Only tokens are recognized here, and what they nest: every value is skipped. Positions are offsets in the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress

KeyPath = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")  # between statements, and in arrays
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|' + r"'[^']*'")
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""(?:"{0,2})|''' + r"""'''.*?'''(?:'{0,2})""" + r"""|"(?:[^"\\]|\\.)*"|'[^']*'""", re.DOTALL
)
_PLAIN = re.compile(r"[^,\]}#\n]*")  # a number, a date or a switch


def lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line on which each key path begins, from 1 on; the members of a list are ``"0"``, ``"1"``, …

    A table is where it is first named, be it by a header or by a dotted key.
    """
    document = _Document(text)
    with suppress(RecursionError):  # tomllib nests a little deeper; the lines so far are right
        document.read()
    return document.lines


class _Document:
    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._at = 0
        self._line, self._counted = 1, 0  # lines up to an offset
        self._lengths: dict[KeyPath, int] = {}  # of arrays of tables

    def read(self) -> None:
        """Read all statements."""
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _note(self, path: KeyPath, at: int) -> None:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        self.lines.setdefault(path, self._line)

    def _keys(self) -> list[str]:
        """Read a key, dotted or not."""
        keys = []
        while True:
            self._skip(_SPACE)
            written = self._skip(_KEY)
            keys.append(tomllib.loads(f"key = {written}")["key"] if written[:1] in ('"', "'") else written)
            self._skip(_SPACE)
            if self._text[self._at : self._at + 1] != ".":
                return keys
            self._at += 1

    def _header(self) -> KeyPath:
        """Read ``[table]`` or ``[[array of tables]]``, and return where its keys belong."""
        begin = self._at
        depth = 2 if self._text.startswith("[[", begin) else 1
        self._at += depth
        keys = self._keys()
        self._at += depth
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._last((*path, key), begin)
        path = (*path, keys[-1])
        if depth == 1:
            return self._last(path, begin)
        self._note(path, begin)
        self._lengths[path] = self._lengths.get(path, 0) + 1
        return self._last(path, begin)

    def _last(self, path: KeyPath, at: int) -> KeyPath:
        """Return the path of a table, which is the last one of its array if it is in one."""
        self._note(path, at)
        if path in self._lengths:
            path = (*path, str(self._lengths[path] - 1))
            self._note(path, at)
        return path

    def _pair(self, table: KeyPath) -> None:
        begin = self._at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, begin)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at : self._at + 1]:
            case "[":
                self._array(path)
            case "{":
                self._inline(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_PLAIN)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while not self._ends("]"):
            self._note((*path, str(index)), self._at)
            self._value((*path, str(index)))
            index += 1

    def _inline(self, path: KeyPath) -> None:
        self._at += 1
        while not self._ends("}"):
            self._pair(path)

    def _ends(self, bracket: str) -> bool:
        """Skip what separates; say whether `bracket` ends it here."""
        self._skip(_BLANK)
        if self._text[self._at : self._at + 1] == ",":
            self._at += 1
            self._skip(_BLANK)
        if self._text[self._at : self._at + 1] in ("", bracket):
            self._at += 1
            return True
        return False
