from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.credentials._template import Template

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

KNOWN = ("method", "path", "body_hash", "body_hash_base64", "timestamp")


class Echo(dict[str, bytes]):
    def __missing__(self, field: str) -> bytes:
        return f"<{field}>".encode()


def rendered(text: str) -> bytes:
    return Template(text, KNOWN).render(Echo())


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", b""), ("plain ä\n", "plain ä\n".encode()), ("{method}", b"<method>"),
        ("{method}{path}", b"<method><path>"),
        ("{{", b"{"), ("}}", b"}"), ("{{}}", b"{}"), ("{{method}}", b"{method}"), ("{{{method}}}", b"{<method>}"),
        ("100%b%% {path}%", b"100%b%% <path>%"), ('{{"a": "{path}"}}', b'{"a": "<path>"}'),
        ("{header:X-A}", b"<header:X-A>"),
        ("{{{{", b"{{"),
    ],
)  # fmt: skip
def test_text_and_fields(text: str, result: bytes) -> None:
    assert rendered(text) == result


@RELAXED
@given(st.text())
def test_doubled_braces_are_text(text: str) -> None:
    try:
        expected = text.encode()
    except UnicodeEncodeError:
        return
    assert rendered(text.replace("{", "{{").replace("}", "}}")) == expected


def test_it_tells_its_fields() -> None:
    assert Template("{method} {{path}} {header:A}{method}", KNOWN).fields == {"method", "header:A"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "a lone {; right would be {{"), ("a}", "a lone }; right would be }}"), ("{method", "a lone {"),
        ("{a{b}", "a lone {"), ("{{method}", "a lone }"),
    ],
)  # fmt: skip
def test_a_lone_brace_is_said(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("{", r"\{").replace("}", r"\}")):
        Template(text, KNOWN)


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("metod", "method"),
        ("Method", "method"),
        ("BODY_HASH", "body_hash"),
        ("bodyhash", "body_hash"),
        ("time_stamp", "timestamp"),
    ],
)
def test_an_unknown_field_names_the_nearest(field: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"no such field \{{{field}\}}; right would be \{{{near}\}}$"):
        Template(f"{{{field}}}", KNOWN)


@pytest.mark.parametrize("field", ["", "zzz", "header:", "header:a b", " method"[:1]])
def test_one_that_is_near_to_none_names_all(field: str) -> None:
    with pytest.raises(ValueError, match=r"one of \{body_hash\} .*\{timestamp\} \{header:NAME\}$"):
        Template(f"{{{field}}}", KNOWN)
