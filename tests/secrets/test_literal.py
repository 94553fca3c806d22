from __future__ import annotations

from pydantic import TypeAdapter

from proxy.secrets import Secret, Source
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


def test_its_schema_is_a_string() -> None:
    assert TypeAdapter(Literal).json_schema() == {"type": "string"}
