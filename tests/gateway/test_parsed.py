from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from proxy.errors import HeadTooLarge, InternalError, MalformedRequest, MethodDenied
from proxy.gateway.parsed import Refusal, fault, is_just_a_head, is_rtsp, judged


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
    assert isinstance(judged(Parsed(), data, has_body=False, upgraded=False), Refusal) is answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [(b"a\r\n\r\n", True), (b"a\r\n\r\nb", False), (b"a\r\n\r\nb\r\n\r\n", False), (b"a\r\n", False), (b"", False)],
)
def test_what_is_just_a_head(data: bytes, answer: bool) -> None:
    assert is_just_a_head(data) is answer


HEAD = b"GET /x HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "has_body", "upgraded", "closes"),
    [(HEAD, False, False, False), (HEAD + b"G", False, False, True), (HEAD + b"G", False, True, False),
     (HEAD, True, False, True), (b"", False, False, True)],
)  # fmt: skip
def test_behind_an_upgrade_that_is_ignored_the_connection_ends_if_something_may_be_lost(
    data: bytes, has_body: bool, upgraded: bool, closes: bool
) -> None:
    message = judged(Parsed(upgrade=True), data, has_body=has_body, upgraded=upgraded)
    assert message.should_close is closes


@pytest.mark.parametrize("data", [b"TRACE * HTTP/1.1\r\n", b"\r\nCONNECT http://a/ HTTP/1.0\r\n"])
def test_trace_and_connect_are_told_by_their_line(data: bytes) -> None:
    refusal = judged(Refused(), data, has_body=False, upgraded=False)
    assert isinstance(fault(refusal), MethodDenied)


@pytest.mark.parametrize(
    "data", [b"TRACES * HTTP/1.1\r\n", b"TRACE * HTTP/2.0\r\n", b"GET x HTTP/1.1\r\nTRACE * HTTP/1.1\r\n"]
)
def test_anything_else_stays_refused(data: bytes) -> None:
    refused = Refused()
    assert judged(refused, data, has_body=False, upgraded=False) is refused


def test_what_is_wrong_is_told_without_repeating_it() -> None:
    wrong = [fault(Refused()), fault(Refused(message="Too many headers received")), fault(Refused(status=500))]
    assert [type(error) for error in wrong] == [MalformedRequest, HeadTooLarge, InternalError]
    assert not any("secret" in error.detail for error in wrong)
