from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from proxy.errors import HeadTooLarge, InternalError, MalformedRequest, MethodDenied
from proxy.gateway.parsed import Refusal, fault, is_rtsp, judged


@dataclass(frozen=True)
class Parsed:
    """A message as far as it is looked at."""

    method: str = "GET"
    path: str = "/x"
    upgrade: bool = False
    should_close: bool = False
    raw_headers: tuple[()] = ()

    def _replace(self, **fields: Any) -> Parsed:
        return replace(self, **fields)


@dataclass(frozen=True)
class Refused:
    """What the parser says of what it does not take."""

    status: int = 400
    message: str = "b'GET /secret'"
    exc: Exception | None = None


HEAD = b"GET /x HTTP/1.1\r\n\r\n"
FACTS: dict[str, Any] = {"limit": 100, "has_body": False, "upgraded": False}


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"GET /x RTSP/1.0\r\n", True), (b"\r\nGET  /x   RTSP/1.1\r\n", True), (b"GET /x HTTP/1.1\r\n", False),
        (b"POST /x RTSP/1.0\r\n", False), (b"GET /xy RTSP/1.0\r\n", False),
        (b"GET /x HTTP/1.1\r\nA: RTSP/1.0\r\n", False),
        (b"GET /y HTTP/1.1\r\n\r\nGET /x RTSP/1.0\r\n", True), (b"TARGET /x RTSP/1.0\r\n", False),
    ],
)  # fmt: skip
def test_the_protocol_of_a_request_line(data: bytes, answer: bool) -> None:
    assert is_rtsp(data, "GET", b"/x") is answer
    assert isinstance(judged(Parsed(), data, **FACTS), Refusal) is answer


@pytest.mark.parametrize(
    ("has_body", "upgraded", "closes"), [(False, False, False), (True, True, False), (True, False, True)]
)
def test_behind_the_body_of_an_upgrade_that_the_parser_ignores_the_connection_ends(
    has_body: bool, upgraded: bool, closes: bool
) -> None:
    message = judged(Parsed(upgrade=True), HEAD, limit=100, has_body=has_body, upgraded=upgraded)
    assert message.should_close is closes


def test_a_method_that_was_replaced_for_the_parser_is_put_back() -> None:
    assert judged(Parsed("PUT"), HEAD, method="LIST", **FACTS).method == "LIST"
    assert judged(Parsed("PUT"), HEAD, **FACTS).method == "PUT"


@pytest.mark.parametrize(("limit", "is_refused"), [(len(HEAD), False), (len(HEAD) - 1, True)])
def test_a_head_has_at_most_so_many_bytes(limit: int, is_refused: bool) -> None:
    message = judged(Parsed(), HEAD, limit=limit, has_body=False, upgraded=False)
    assert isinstance(message, Refusal) is is_refused


@pytest.mark.parametrize("data", [b"TRACE * HTTP/1.1\r\n", b"\r\nCONNECT http://a/ HTTP/1.0\r\n"])
def test_trace_and_connect_are_told_by_their_line(data: bytes) -> None:
    refusal = judged(Refused(), data, **FACTS)
    assert isinstance(fault(refusal), MethodDenied)


@pytest.mark.parametrize(
    "data", [b"TRACES * HTTP/1.1\r\n", b"TRACE * HTTP/2.0\r\n", b"GET x HTTP/1.1\r\nTRACE * HTTP/1.1\r\n"]
)
def test_anything_else_stays_refused(data: bytes) -> None:
    refused = Refused()
    assert judged(refused, data, **FACTS) is refused


@pytest.mark.parametrize(
    ("request_", "detail"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "Host is missing"),
        (b"c4n4ry\r\n\r\n", "the method is malformed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: c4n4ry\r\n\r\n", "a header field is malformed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: c4n4ry\0\r\n\r\n", "a header field is malformed"),
        (b"GET /c4n4ry d HTTP/1.1\r\nHost: a\r\n\r\n", "the request line is malformed; expected METHOD /PATH HTTP/1.1"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: c4n4ry\r\n\r\n", "Content-Length is malformed"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is not served here; expected HTTP/1.1"),
    ],
)
async def test_what_the_parser_refuses_is_named_in_words_of_our_own(request_: bytes, detail: str) -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(HttpProcessingError) as caught:
        HttpRequestParser(BaseProtocol(loop), loop, 2**16).feed_data(request_)
    found = fault(Refused(message=caught.value.message))
    assert (found.status, found.detail) == (400, detail)


def test_what_is_wrong_is_told_without_repeating_it() -> None:
    wrong = [fault(Refused()), fault(Refused(message="Too many headers received")), fault(Refused(status=500))]
    assert [type(error) for error in wrong] == [MalformedRequest, HeadTooLarge, InternalError]
    assert not any("secret" in error.detail for error in wrong)
