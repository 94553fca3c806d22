from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.printable import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a b ü 鍵", "a b ü 鍵"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b2J\x85", r"\x9b2J\x85"),
        ("a\nb\r\tc\x7f\0", r"a\nb\r\tc\x7f\x00"),
        ("\u202eevil\u2066\u200f\u200b", r"\u202eevil\u2066\u200f\u200b"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\udc9b\U000e0041", r"\udc9b\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_any_text_is_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()
    assert printable_lines(text).split("\n") == [printable(line) for line in text.split("\n")]
