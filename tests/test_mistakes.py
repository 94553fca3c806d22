"""How pydantic's errors are told; the whole table of them stands in test_config.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from proxy.mistakes import Mistake, dotted, explain, nearest
from proxy.values import Model


class Inner(Model):
    type: Literal["inner"]
    number: int = 0


class Other(Model):
    type: Literal["other"]
    text: str = ""


class Outer(Model):
    inner: Inner | None = None
    either: Annotated[Inner | Other, Field(discriminator="type")] | None = None
    many: dict[str, Inner] = Field(default={})
    words: tuple[str, ...] | str = ()
    exact: Annotated[float, Field(multiple_of=2)] = 2


def told(value: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(value)
    return [str(mistake) for mistake in sorted(explain(caught.value, Outer.model_json_schema()))]


def test_paths_are_the_user_s_keys() -> None:
    assert told({
        "inner": {"type": "inner", "numbr": 1},
        "either": {"type": "other", "txt": 1, "text": 3},
        "many": {"a.b": {"type": "inner", "number": "x"}, "inner": {}},
        "words": [3],
    }) == [
        "either.text: is not a text; right would be \"…\"",
        "either.txt: unknown key; right would be text",
        "inner.numbr: unknown key; right would be number",
        "many.\"a.b\".number: is not a whole number; right would be digits",
        "many.inner.type: is missing; right would be type = …",
        "words: is not a text; right would be \"…\"",
        "words.0: is not a text; right would be \"…\"",
    ]  # fmt: skip


def test_what_has_no_words_of_ours_has_pydantic_s() -> None:
    assert told({"exact": 3}) == ["exact: is wrong; right would be a multiple of 2"]


def test_a_type_that_is_missing_or_none() -> None:
    assert told({"either": {}}) == ["either.type: is missing; right would be one of inner, other"]
    assert told({"either": {"type": "othr"}}) == ["either.type: no such type; right would be other"]
    assert told({"inner": {"type": "other"}}) == ["inner.type: is not allowed; right would be inner"]


@pytest.mark.parametrize(
    ("word", "known", "right"),
    [
        ("Lisen", ["listen", "admin"], "listen"),
        ("LISTEN", ["listen", "admin"], "listen"),
        ("X", ["A", "B"], "one of A, B"),
        ("GTE", ["GET", "POST"], "GET"),
        ("x", ["only"], "only"),
        ("x", [], "none, since there are none"),
    ],
)
def test_the_nearest(word: str, known: list[str], right: str) -> None:
    assert nearest(word, known) == right


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b-c"), "a.b-c"),
        (("a", "b.c"), 'a."b.c"'),
        (("a", 'q"\\'), 'a."q\\"\\\\"'),
        (("a", "\x1b[2J\n"), 'a."?[2J?"'),
        (("a", ""), 'a.""'),
        (("a", "ü"), 'a."ü"'),
    ],
)
def test_key_paths_are_written_as_toml_has_them(path: tuple[str, ...], text: str) -> None:
    assert dotted(path) == text


def test_a_mistake_without_a_path_is_its_text() -> None:
    assert str(Mistake((), "x")) == "x"
    assert str(Mistake(("a",), "x")) == "a: x"
