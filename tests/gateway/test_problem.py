"""Answers of the proxy's own, and what Proxy-Status tells."""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BodyTooLarge, ClientTokenNeeded, Denied, MethodDenied, NoRoute, ProxyError, Throttled
from proxy.gateway import Story
from proxy.gateway.problem import problem, proxy_status, success_note

STRING = re.compile(rb'"(?:[ !#-\[\]-~]|\\["\\])*"')  # RFC 8941, section 3.3.3


def story(**told: Any) -> Story:
    made = Story("GET", "/", 0.0)
    for name, value in told.items():
        setattr(made, name, value)
    return made


def field(error: ProxyError, name: bytes) -> list[bytes]:
    return [value for had, value in problem(error, story()).headers if had == name]


def test_a_problem_says_what_it_is() -> None:
    told = story(route="github")
    answer = problem(Denied("not today"), told)
    assert answer.status == 403
    assert not answer.close
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body) == {
        "type": "https://www.rfc-editor.org/rfc/rfc9209#name-http-request-denied",
        "title": "The request is not allowed",
        "status": 403,
        "detail": "not today",
        "message": "not today",
        "route": "github",
        "request_id": told.request_id,
    }
    fields = dict(answer.headers)
    assert parsedate_to_datetime(fields.pop(b"Date").decode())
    assert fields == {
        b"Content-Type": b"application/problem+json",
        b"Cache-Control": b"no-store",
        b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
        b"Proxy-Status": b'countersign; error=http_request_denied; details="not today"',
    }
    assert (told.error, told.failure) == ("http_request_denied", "not today")


def test_before_the_route_is_known_there_is_none() -> None:
    answer = problem(NoRoute(), story())
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["route"] is None


@pytest.mark.parametrize(
    ("retry_after", "wanted"), [(None, []), (0, [b"1"]), (0.2, [b"1"]), (2.1, [b"3"]), (30, [b"30"])]
)
def test_retry_after_is_whole_seconds(retry_after: float | None, wanted: list[bytes]) -> None:
    assert field(Throttled(retry_after=retry_after), b"Retry-After") == wanted


def test_an_errors_own_fields_come_along() -> None:
    assert field(MethodDenied(headers=((b"Allow", b"GET"),)), b"Allow") == [b"GET"]
    two = ClientTokenNeeded(headers=((b"Proxy-Authenticate", b"Bearer"), (b"Proxy-Authenticate", b"Basic")))
    assert field(two, b"Proxy-Authenticate") == [b"Bearer", b"Basic"]


def test_an_error_may_end_the_connection() -> None:
    assert problem(BodyTooLarge(), story()).close


def test_a_request_id_is_made_once() -> None:
    told = story()
    assert told.request_id == told.request_id
    assert told.request_id != story().request_id


@given(st.text(max_size=30))
def test_no_detail_breaks_out_of_its_field(text: str) -> None:
    name, value = proxy_status(text, "dns_error")
    assert name == b"Proxy-Status"
    assert value.startswith(b"countersign; error=dns_error; details=")
    assert STRING.fullmatch(value.partition(b"details=")[2])
    answer = problem(Denied(text), story())
    assert not any(set(value) & set(b"\r\n\0") for _, value in answer.headers)
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["detail"] == text or not text


@pytest.mark.parametrize(
    ("told", "details"),
    [
        ({}, None),
        ({"attempts": 1}, None),
        ({"attempts": 1, "outcomes": ["2xx"], "route": "x"}, None),
        ({"notes": ["renewed token"], "attempts": 2, "waited": 1.23}, b"renewed token; 2 attempts; waited 1.2s"),
        ({"notes": ["renewed token", "renewed token"], "attempts": 1}, b"renewed token"),
        ({"attempts": 3}, b"3 attempts"),
        ({"attempts": 1, "waited": 2.0}, b"waited 2.0s"),
        ({"attempts": 2, "waited": 0.049}, b"2 attempts"),
        ({"attempts": 1, "waited": 0.001}, None),
        ({"attempts": 2, "waited": 0.06}, b"2 attempts; waited 0.1s"),
    ],
)
def test_what_went_well_is_told_and_otherwise_nothing(told: dict[str, Any], details: bytes | None) -> None:
    note = success_note(story(**told))
    assert note == ([] if details is None else [(b"Proxy-Status", b'countersign; details="' + details + b'"')])


def test_what_was_tried_in_vain_is_told_with_its_error() -> None:
    told = story(attempts=1, failure="renewal failed: gone", error="proxy_configuration_error")
    details = b'countersign; error=proxy_configuration_error; details="renewal failed: gone"'
    assert success_note(told) == [(b"Proxy-Status", details)]
