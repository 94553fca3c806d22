from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credentials._challenges import Challenge, challenges, parse


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('Bearer realm="x", error="invalid_token"', [("bearer", {"realm": "x", "error": "invalid_token"})]),
        ("Bearer error=invalid_token", [("bearer", {"error": "invalid_token"})]),
        ('BEARER ERROR = "invalid_token"', [("bearer", {"error": "invalid_token"})]),
        ('Bearer realm="a \\"b\\" \\\\, error=c", error=d', [("bearer", {"realm": 'a "b" \\, error=c', "error": "d"})]),
        ('Bearer realm="", error=""', [("bearer", {"realm": "", "error": ""})]),
        ("Bearer", [("bearer", {})]),
        ("Negotiate, Bearer error=x", [("negotiate", {}), ("bearer", {"error": "x"})]),
        ("Negotiate YWJj==, Bearer error=x", [("negotiate", {}), ("bearer", {"error": "x"})]),
        ('Basic realm="a", Bearer error="x", DPoP algs="ES256"',
         [("basic", {"realm": "a"}), ("bearer", {"error": "x"}), ("dpop", {"algs": "ES256"})]),
        (', , Newauth realm="apps", type=1 ,,title="Login to \\"apps\\"", Basic realm="simple"',
         [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}), ("basic", {"realm": "simple"})]),
        ('Bearer realm="a" error="x"', [("bearer", {"realm": "a", "error": "x"})]),
        ("Bearer error=x, error=y", [("bearer", {"error": "x"})]),
        ('Bearer error="x', [("bearer", {})]),
        ('error="x"', []),
        ('error="x, y", Bearer error=z', [("bearer", {"error": "z"})]),
        ('Basic realm="a";charset="UTF-8", Digest realm="b"', [("basic", {"realm": "a"}), ("digest", {"realm": "b"})]),
        ("@, Digest realm=b", [("digest", {"realm": "b"})]),
        ('@ "a, b", Bearer', [("bearer", {})]),
        ('@ "a, Bearer', []),
        ("Bearer realm=https://auth.test/token, nonce=a/b+c==",
         [("bearer", {"realm": "https://auth.test/token", "nonce": "a/b+c=="})]),
        ("", []),
        ("@", []),
    ],
)  # fmt: skip
def test_what_a_field_says(value: str, wanted: list[tuple[str, dict[str, str]]]) -> None:
    assert list(parse(value)) == [Challenge(scheme, parameters) for scheme, parameters in wanted]


def test_there_may_be_several_fields_and_others() -> None:
    fields = [(b"WWW-Authenticate", b"Basic"), (b"X-Other", b"Digest"), (b"www-authenticate", b"Bearer a=\xfc")]
    assert [each.scheme for each in challenges(fields)] == ["basic", "bearer"]


NAMES = st.from_regex(r"[!#$%&'*+.^_`|~0-9a-z\-]{1,9}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=4)), max_size=4))
def test_what_is_written_is_read(wanted: list[tuple[str, dict[str, str]]]) -> None:
    text = " , ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in wanted
    )
    assert list(parse(text)) == [Challenge(scheme, parameters) for scheme, parameters in wanted]


@given(st.text(st.sampled_from('a=",;\\ @'), max_size=200))
def test_what_is_none_costs_no_challenge_behind_it(garbage: str) -> None:
    if garbage.count('"') == 0:
        found = list(parse(garbage + ', Digest realm="x"'))
        assert found[-1] == Challenge("digest", {"realm": "x"})


@pytest.mark.parametrize("piece", ['"', '="', ',"', 'a="', '\\"', "@", 'a="\\', ', ;"x', 'a=";,'])
def test_a_long_field_takes_no_longer_than_its_length(piece: str) -> None:
    began = time.process_time()
    list(parse(piece * (1 << 16)))
    assert time.process_time() - began < 5  # with the square of it: minutes


@given(st.text(max_size=200))
def test_whatever_comes_is_read_to_an_end(value: str) -> None:
    list(parse(value))
