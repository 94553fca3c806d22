"""The text of files: UTF-8, with or without a byte order mark, which editors on Windows write."""

from __future__ import annotations

import codecs

TEXT = "utf-8-sig"
"""The codec for every text file: as UTF-8, without the mark."""

_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins as that of UTF-16
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def flaw(content: bytes) -> str:
    """Return why bytes that `TEXT` can't decode are no text; nothing of them is repeated."""
    found = next((name for mark, name in _OTHER_MARKS.items() if content.startswith(mark)), "")
    return f"is {found} text; expected UTF-8" if found else "is not UTF-8 text"
