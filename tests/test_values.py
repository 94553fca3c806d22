"""The kinds of values that configuration keys have."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from proxy.values import Duration, Model, Share, Size, Words, is_loopback


class Part(Model):
    wait: Duration = 1.0
    size: Size = 1
    words: Words = ()
    share: Share = 0.5


DURATION: TypeAdapter[float] = TypeAdapter(Duration)
SIZE: TypeAdapter[int] = TypeAdapter(Size)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0), ("1d", 86400.0), ("7", 7.0), ("1.5s", 1.5),
        (" 1s ", 1.0),
        ("0", 0.0), (0, 0.0), (5, 5.0), (0.25, 0.25), ("0.5m", 30.0),
    ],
)  # fmt: skip
def test_durations(written: object, seconds: float) -> None:
    assert DURATION.validate_python(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "", "s", "-1s", "+1s", "1 s", "1S", "1min", "1,5s", "1e3", ".5s", "1.s", "inf", "nan", "1s2", "1h30m", "٣s",
        -1, -0.1,
        math.inf, math.nan, True, False, None, [], {}, "9" * 400, "9" * 400 + "d", 10**400, 1e300,
    ],
)  # fmt: skip
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValidationError, match="not a duration"):
        DURATION.validate_python(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64KiB", 65536), ("10MB", 10**7), ("1GiB", 2**30), ("2GB", 2 * 10**9), ("1kB", 1000), ("1KB", 1000),
        ("5B", 5), ("7", 7),
        (" 1MiB ", 2**20), ("1.5KiB", 1536), ("0", 0), (0, 0), (123, 123), (2**60, 2**60),
        ("999999999999999", 999999999999999),
    ],
)  # fmt: skip
def test_sizes(written: object, size: int) -> None:
    assert SIZE.validate_python(written) == size


@pytest.mark.parametrize(
    "written",
    ["", "B", "-1", "1 KiB", "1kib", "1K", "1TB", "1.KB", "0x10", "٣", -1, 1.5, 1.0, True, None, [], "9" * 400 + "GB"],
)
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValidationError, match="not a size"):
        SIZE.validate_python(written)


@given(st.text(max_size=20) | st.integers() | st.floats())
def test_anything_is_a_value_or_a_mistake(written: object) -> None:
    for adapter in (DURATION, SIZE):
        try:
            value = adapter.validate_python(written)
        except ValidationError:
            continue
        assert 0 <= value < math.inf


def test_words_may_stand_in_one_variable() -> None:
    words: TypeAdapter[tuple[str, ...]] = TypeAdapter(Words)
    assert words.validate_python(" a, b,,c ") == ("a", "b", "c")
    assert words.validate_python("") == ()
    assert words.validate_python(["a,b"]) == ("a,b",)


def test_a_share_is_one() -> None:
    assert Part(share=1.0).share == 1.0
    for wrong in (-0.1, 1.1, math.nan):
        with pytest.raises(ValidationError):
            Part(share=wrong)


def test_a_part_is_frozen_knows_its_keys_and_does_not_repeat_what_it_was_given() -> None:
    part = Part()
    with pytest.raises(ValidationError, match="frozen"):
        part.wait = 2.0  # type: ignore[misc]  # that is the test
    with pytest.raises(ValidationError, match="Extra inputs"):
        Part.model_validate({"wiat": 1})
    with pytest.raises(ValidationError) as caught:
        Part.model_validate({"wait": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_the_schema_allows_numbers_and_texts() -> None:
    properties = Part.model_json_schema()["properties"]
    assert {kind["type"] for kind in properties["wait"]["anyOf"]} == {"number", "string"}
    assert {kind["type"] for kind in properties["size"]["anyOf"]} == {"integer", "string"}


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "127.0.0.1",
        "127.1.2.3",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "[::ffff:7f00:1]",
    ],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost.evil.test",
        "xlocalhost",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "::",
        "[::]",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "127.1",
    ],
)
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)
