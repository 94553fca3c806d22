"""Texts of others, on a terminal: token names, scopes, paths and routes may hold what would control it."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return `text` in one line, without anything that a terminal obeys or hides.

    Control characters (C0, C1), those that change the direction of text, and line breaks become escapes.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def printable_lines(text: str) -> str:
    """As `printable`, of each line of a text that has several."""
    return "\n".join(map(printable, text.split("\n")))
