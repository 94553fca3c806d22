from __future__ import annotations

import httpx
import pytest

from proxy.credentials._values import Values


def values(**headers: str) -> Values:
    target = {"target": b"/a%2Fb?b=2&a=1&"}
    return Values(httpx.Request("POST", "https://api.test/", headers=headers, extensions=target))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("method", b"POST"),
        ("scheme", b"https"),
        ("host", b"api.test"),
        ("target", b"/a%2Fb?b=2&a=1&"),
        ("path", b"/a%2Fb"),
        ("query", b"b=2&a=1&"),
        ("sorted_query", b"a=1&b=2"),
        ("content_type", b""),
        ("header:X-Of-Client", b"v"),
        ("header:X-Not-There", b""),
    ],
)
def test_what_a_field_stands_for(field: str, value: bytes) -> None:
    assert values(**{"X-Of-Client": "v"})[field] == value


def test_a_nonce_is_the_same_throughout_a_request_and_another_in_the_next() -> None:
    one, other = values(), values()
    assert one["nonce"] == one["nonce"] != other["nonce"]


def test_headers_and_target_are_those_of_the_moment() -> None:
    made = values()
    assert (made["header:X-Key"], made["query"]) == (b"", b"b=2&a=1&")
    made.request.headers["X-Key"] = "k"
    made.request.extensions["target"] = b"/a?c"
    made.forget_target()
    assert (made["header:X-Key"], made["query"], made["path"]) == (b"k", b"c", b"/a")


def test_a_hash_in_both_encodings() -> None:
    made = values()
    made.take_hash(b"\xfb\xff")
    assert (made["body_hash"], made["body_hash_base64"]) == (b"fbff", b"+/8=")
