from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.credentials._fields import check_field_name, field_value, is_token, remove_field, set_field
from tests.credentials.doubles import request

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from([b"X-A", b"x-a", b"X-B", b"X-C"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=4)))


@RELAXED
@given(FIELDS, st.binary(max_size=4))
def test_a_field_is_set_and_the_others_keep_their_bytes(fields: list[tuple[bytes, bytes]], value: bytes) -> None:
    to = request(fields=fields)
    str(to.headers)  # which finds an encoding
    set_field(to, "X-A", value)
    raw = to.headers.raw
    assert [each for name, each in raw if name.lower() == b"x-a"] == [value]
    assert [each for each in raw if each[0].lower() not in (b"x-a", b"host")] == [
        each for each in fields if each[0].lower() != b"x-a"
    ]


@RELAXED
@given(FIELDS)
def test_its_values_are_joined_or_taken_out(fields: list[tuple[bytes, bytes]]) -> None:
    to = request(fields=fields)
    assert field_value(to, "x-A") == b", ".join(value for name, value in fields if name.lower() == b"x-a")
    remove_field(to, "x-A")
    assert field_value(to, "X-A") == b""


@pytest.mark.parametrize("name", ["", "a b", "a:", "X\r\nY", "ä", "a[b]", "X\n"])
def test_what_can_be_no_name(name: str) -> None:
    assert not is_token(name)
    with pytest.raises(ValueError, match="is not the name of a header field"):
        check_field_name(name)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "CONNECTION", "Upgrade"])
def test_fields_that_are_none_of_a_credential(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is set by the proxy itself"):
        check_field_name(name)


def test_any_other_name_will_do() -> None:
    for name in ("Authorization", "X-Api-Key", "x_key", "Date"):
        check_field_name(name)
