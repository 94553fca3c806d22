"""Text files begin with a byte order mark, or don't."""

from __future__ import annotations

import codecs

import pytest

from proxy.encoding import TEXT, flaw


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_byte_order_mark_is_not_part_of_a_text(mark: bytes) -> None:
    assert (mark + "ä".encode()).decode(TEXT) == "ä"


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("utf-16", "is UTF-16 text; expected UTF-8"),
        ("utf-32", "is UTF-32 text; expected UTF-8"),
        ("latin-1", "is not UTF-8 text"),
    ],
)
def test_another_encoding_is_named_where_its_mark_shows_it(codec: str, text: str) -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        "zä".encode(codec).decode(TEXT)
    assert flaw(caught.value.object) == text


@pytest.mark.parametrize(("mark", "name"), [(codecs.BOM_UTF16_BE, "UTF-16"), (codecs.BOM_UTF32_BE, "UTF-32")])
def test_either_byte_order_is_known(mark: bytes, name: str) -> None:
    assert name in flaw(mark + b"\0a")
