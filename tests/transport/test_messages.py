from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from proxy.transport.messages import RawHeaders, raw_request, raw_response

FIELDS = [(b"Host", b"h"), (b"X-Twice", b"1"), (b"x-other", b"\xff"), (b"x-twice", b"2")]
BODY = httpx.ByteStream(b"")

USES: dict[str, Callable[[httpx.Headers], Any]] = {
    "raw": lambda headers: headers.raw,
    "get": lambda headers: headers.get("x-TWICE"),
    "get nothing": lambda headers: headers.get("missing", "default"),
    "item": lambda headers: headers["host"],
    "list": lambda headers: headers.get_list("X-Twice"),
    "multi items": lambda headers: headers.multi_items(),
    "items": lambda headers: list(headers.items()),
    "keys": lambda headers: list(headers),
    "length": len,
    "has": lambda headers: "X-TWICE" in headers,
    "has not": lambda headers: "missing" in headers,
    "copy": lambda headers: headers.copy().raw,
    "equals": lambda headers: headers == httpx.Headers(FIELDS),
    "encoding": lambda headers: headers.encoding,
}

CHANGES: dict[str, Callable[[httpx.Headers], object]] = {
    "set": lambda headers: headers.__setitem__("Host", "new"),
    "set twice": lambda headers: headers.__setitem__("x-tWice", "3"),
    "set a new one": lambda headers: headers.__setitem__("New", "n"),
    "delete": lambda headers: headers.__delitem__("x-twice"),
    "update": lambda headers: headers.update({"a": "b", "x-twice": "c"}),
    "default": lambda headers: headers.setdefault("b", "y"),
    "no default": lambda headers: headers.setdefault("host", "y"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_raw_headers_tell_what_httpxs_headers_tell(use: Callable[[httpx.Headers], Any]) -> None:
    assert use(RawHeaders(list(FIELDS))) == use(httpx.Headers(FIELDS))


@pytest.mark.parametrize("look", [True, False])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_raw_headers_change_as_httpxs_headers_do(change: Callable[[httpx.Headers], object], look: bool) -> None:
    raw, plain = RawHeaders(list(FIELDS)), httpx.Headers(FIELDS)
    assert not look or raw["host"] == "h"
    change(raw)
    change(plain)
    assert raw.raw == plain.raw
    assert "host" in raw
    assert raw == plain


def test_the_list_is_taken_over_and_never_changed() -> None:
    fields = list(FIELDS)
    headers = RawHeaders(fields)
    assert headers.raw is fields
    headers["Host"] = "new"
    headers["Other"] = "new"
    assert fields == FIELDS


def test_a_missing_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        RawHeaders([])["missing"]


def attributes(message: object) -> dict[str, Any]:
    return {name: value for name, value in vars(message).items() if name not in {"headers", "_encoding"}}


def test_a_raw_response_has_all_that_a_response_has() -> None:
    extensions = {"reason_phrase": b"Fine"}
    raw = raw_response(299, FIELDS, BODY, extensions)
    plain = httpx.Response(299, headers=FIELDS, stream=BODY, extensions=extensions)
    assert attributes(raw) == attributes(plain)
    assert raw.reason_phrase == "Fine"
    assert raw.headers == plain.headers
    assert raw.history is not raw_response(200, [], BODY, {}).history


def test_a_raw_request_has_all_that_a_request_has() -> None:
    url = httpx.URL("http://upstream.test/")
    raw = raw_request("POST", url, FIELDS, BODY, {"target": b"/"})
    plain = httpx.Request("POST", url, headers=FIELDS, stream=BODY, extensions={"target": b"/"})
    assert attributes(raw) == attributes(plain)
    assert raw.headers == plain.headers
    raw.headers["Authorization"] = "Bearer x"
    assert raw.headers.raw == [*FIELDS, (b"Authorization", b"Bearer x")]
