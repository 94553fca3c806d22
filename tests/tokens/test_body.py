"""Bodies of responses, as they are read; what becomes of them is in test_endpoint.py."""

from __future__ import annotations

import gzip
import zlib

import httpx
import pytest

from proxy.tokens._body import described, has_fields, parsed, unpacked

FORM = "application/x-www-form-urlencoded"


def headers(kind: str = "", coding: str = "") -> httpx.Headers:
    pairs = {"Content-Type": kind, "Content-Encoding": coding}
    return httpx.Headers({name: value for name, value in pairs.items() if value})


@pytest.mark.parametrize(
    ("kind", "body", "fields"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("text/html", b' {"a": 1}\n', {"a": 1}),
        (FORM, b'{"a": 1}', {"a": 1}),
        ("application/json", b'{"a": "\xfc"}', {"a": "ü"}),
        ("application/json", '{"a": 1}'.encode("utf-16"), {"a": 1}),
        ("application/json", b"[1]", None),
        ("application/json", b"null", None),
        ("application/json", b"{", None),
        ("application/json", b"[" * 100_000, None),
        ("application/json", b"", None),
        (FORM, b"a=1&b=%C3%BC+x&c=", {"a": "1", "b": "ü x", "c": ""}),
        (f"{FORM}; charset=UTF-8", b"a=1\n", {"a": "1"}),
        (FORM.upper(), b"a=1", {"a": "1"}),
        (FORM, b"", None),
        (FORM, b"a", {"a": ""}),
        (FORM, b"\xff=1", None),
        (FORM, b"&".join(b"a%d=1" % number for number in range(101)), None),
        ("text/plain", b"access_token=a&scope=", {"access_token": "a", "scope": ""}),
        ("", b"error=invalid_grant", {"error": "invalid_grant"}),
        ("text/html", b"device_code=a&user_code=b", {"device_code": "a", "user_code": "b"}),
        ("text/plain", b"a=1&b=2", None),
        ("text/plain", b"see access_token=a", None),
        ("text/html", b"<a href=?error=x>", None),
        ("text/plain", b"access_token", None),
    ],
)
def test_a_body_is_read(kind: str, body: bytes, fields: dict[str, object] | None) -> None:
    assert parsed(body, headers(kind)) == fields


@pytest.mark.parametrize(
    ("kind", "has"),
    [("application/json", True), ("application/problem+json; charset=utf-8", True), (FORM, True), ("text/json", True),
     ("text/html", False), ("", False), ("application/jsonp", False)],
)  # fmt: skip
def test_a_response_says_whether_it_has_fields(kind: str, has: bool) -> None:
    assert has_fields(headers(kind)) is has


GZIP = gzip.compress(b"abc", mtime=0)


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", GZIP), ("X-Gzip ", GZIP), ("", GZIP),
     ("deflate", zlib.compress(b"abc")), ("deflate", zlib.compress(b"abc")[2:-4]), ("identity", b"abc"), ("", b"abc"),
     ("br", b"abc"), ("gzip", b"abc"), ("deflate", b"abc")],
)  # fmt: skip
def test_a_coding_is_removed_where_it_is_one(coding: str, body: bytes) -> None:
    assert unpacked(body, headers(coding=coding), 3) == b"abc"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_becomes_too_large_is_not_unpacked(coding: str) -> None:
    packed = gzip.compress(b"abcd") if coding == "gzip" else zlib.compress(b"abcd")
    with pytest.raises(ValueError, match="too large"):
        unpacked(packed, headers(coding=coding), 3)


@pytest.mark.parametrize(
    ("kind", "coding", "size", "says"),
    [("Text/HTML; charset=x", "", 0, "text/html, 0 bytes"), ("", "", 1, "no content type, 1 byte"),
     ("a/b", "gzip, br", 7, "a/b, gzip, br, 7 bytes"), (f"a/{'b' * 61}", "", 7, "an invalid content type, 7 bytes"),
     ("a b", "<", 7, "an invalid content type, an invalid content encoding, 7 bytes")],
)  # fmt: skip
def test_a_body_is_described(kind: str, coding: str, size: int, says: str) -> None:
    assert described(headers(kind, coding), size) == says
