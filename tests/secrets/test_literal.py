from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from proxy.secrets import Secret, SecretText, Source, is_secret_table, literal_text
from proxy.secrets.literal import Literal

ADAPTER: TypeAdapter[Source] = TypeAdapter(Secret)


async def test_a_text_is_the_secret_itself() -> None:
    source = ADAPTER.validate_python("x")
    assert isinstance(source, Literal)
    assert (await source.get(), source.where, repr(source)) == ("x", "the configuration", "Secret(the configuration)")


def test_an_empty_one_was_meant_to_be() -> None:
    assert ADAPTER.validate_python("").is_blank
    assert not ADAPTER.validate_python("x").is_blank
    assert not ADAPTER.validate_python({"env": "EMPTY"}).is_blank


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x01", "\x0b", "\x1b", "\x7f"])
def test_one_that_would_break_a_field_is_refused_with_the_configuration(character: str) -> None:
    with pytest.raises(ValueError, match="holds a line break or another control character"):
        ADAPTER.validate_python(f"x{character}y")


def test_one_of_several_lines_may_be_a_key() -> None:
    assert TypeAdapter(SecretText).validate_python("a\r\nb\n")
    with pytest.raises(ValueError, match="control character"):
        TypeAdapter(SecretText).validate_python("a\n\0b")


async def test_a_table_says_that_a_text_is_the_secret_whatever_it_looks_like() -> None:
    assert await ADAPTER.validate_python({"literal": "$NAME"}).get() == "$NAME"
    assert await ADAPTER.validate_python({"literal": '{"a": "x"}', "json": "a"}).get() == "x"
    assert is_secret_table({"literal": "$NAME"})
    with pytest.raises(ValueError, match="extra_forbidden"):
        ADAPTER.validate_python({"literal": "x", "value": "y"})


def test_its_schema_is_a_string_or_a_table() -> None:
    text, table = TypeAdapter(Literal).json_schema()["anyOf"]
    assert text == {"type": "string"}
    assert table["required"] == ["literal"]


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), ({"literal": "x"}, "x"), ({"env": "x"}, None), ({"literal": 3}, None), (3, None)]
)
def test_what_stands_in_the_configuration_itself(value: object, text: str | None) -> None:
    assert literal_text(value) == text
