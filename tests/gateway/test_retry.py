"""May a request be repeated, and after how long."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    ConnectTimeout,
    DnsError,
    OutgoingProxyError,
    ReadTimeout,
    ResponseIncomplete,
    TlsCertificateError,
    TlsProtocolError,
    Unroutable,
    UntrustedUpstream,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
    WrongProtocol,
)
from proxy.gateway.retry import (
    FREE,
    WINDOW,
    Budget,
    RetrySettings,
    after_failure,
    backoff,
    may_repeat,
)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
def test_idempotent_methods_may_be_repeated(method: str) -> None:
    assert may_repeat(method, idempotency_key=False, settings=RetrySettings())


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "get", ""])
def test_others_only_with_a_key(method: str) -> None:
    assert not may_repeat(method, idempotency_key=False, settings=RetrySettings())
    assert may_repeat(method, idempotency_key=True, settings=RetrySettings())


def test_methods_are_the_configurations() -> None:
    settings = RetrySettings(methods=("POST",))
    assert may_repeat("POST", idempotency_key=False, settings=settings)
    assert not may_repeat("GET", idempotency_key=False, settings=settings)


@pytest.mark.parametrize(
    ("failure", "any_method", "idempotent"),
    [
        (ConnectionRefused(), True, True),
        (DnsError(), True, True),
        (Unroutable(), True, True),
        (ConnectTimeout(), True, True),
        (OutgoingProxyError(), True, True),
        (TlsProtocolError(), True, True),
        (TlsCertificateError(), False, False),  # it would be the same one again
        (WrongProtocol(), False, False),
        (UntrustedUpstream(), False, False),
        (TlsProtocolError(sent=True), False, True),
        (OutgoingProxyError(sent=True), False, True),
        (ConnectionTerminated(), True, True),
        (ConnectionTerminated(sent=True), False, True),
        (ReadTimeout(), True, True),
        (ReadTimeout(sent=True), False, False),  # it may still be at work
        (ReadTimeout(sent=True, begun=True), False, False),
        (WriteTimeout(sent=True), False, True),
        (ResponseIncomplete(sent=True, begun=True), False, True),
        (UpstreamProtocolError(sent=True), False, False),
        (UpstreamProtocolError(), False, False),
        (UpstreamError(sent=True), False, True),
    ],
)
def test_which_failures_may_be_repeated(failure: UpstreamError, *, any_method: bool, idempotent: bool) -> None:
    assert after_failure(failure, repeatable=False, read_timeout=False) is any_method
    assert after_failure(failure, repeatable=True, read_timeout=False) is idempotent


def test_a_read_timeout_may_be_repeated_where_that_is_configured() -> None:
    assert after_failure(ReadTimeout(sent=True), repeatable=True, read_timeout=True)
    assert not after_failure(ReadTimeout(sent=True), repeatable=False, read_timeout=True)


@given(st.integers(1, 10_000), st.integers())
def test_a_backoff_doubles_and_is_jittered_from_nothing_on(attempt: int, seed: int) -> None:
    settings = RetrySettings(backoff=0.5)
    pause = backoff(attempt, settings, Random(seed))
    assert 0 <= pause <= 0.5 * 2 ** min(attempt - 1, 20)


def test_a_backoff_uses_all_of_its_range() -> None:
    random = Random(1)
    pauses = [backoff(3, RetrySettings(backoff=1.0), random) for _ in range(1000)]
    assert min(pauses) < 0.1
    assert max(pauses) > 3.9


# -- budget ----------------------------------------------------------------------------------------------


def spend(budget: Budget, now: float, times: int = 1000) -> int:
    return sum(budget.spend(now) for _ in range(times))


def test_ten_retries_in_ten_seconds_are_always_free() -> None:
    budget = Budget(0.0)
    assert spend(budget, 5.0) == FREE
    assert spend(budget, 5.0 + WINDOW - 1) == 0
    assert spend(budget, 5.0 + WINDOW) == FREE


@pytest.mark.parametrize(("share", "requests", "wanted"), [(0.2, 100, 20), (0.2, 40, 10), (1.0, 30, 30), (0.5, 21, 11)])
def test_retries_are_a_share_of_the_recent_requests(share: float, requests: int, wanted: int) -> None:
    budget = Budget(share)
    for turn in range(requests):
        budget.request(100 + turn % WINDOW)
    assert spend(budget, 100 + WINDOW - 1) == wanted


def test_requests_of_long_ago_dont_count() -> None:
    budget = Budget(1.0)
    for _ in range(100):
        budget.request(0.5)
    assert spend(budget, 1e9) == FREE


def test_a_second_after_the_other_leaves_the_window() -> None:
    budget = Budget(1.0)
    for second in range(20):
        for _ in range(3):
            budget.request(float(second))
    assert spend(budget, 19.9) == 3 * WINDOW
    assert spend(budget, 20.5) == 0  # three requests less, and no retry
    for _ in range(5):
        budget.request(21.0)
    assert spend(budget, 21.0) == 0


def test_a_clock_that_goes_back_does_no_harm() -> None:
    budget = Budget(0.2)
    budget.request(50.0)
    budget.request(-3.0)
    assert spend(budget, 45.0) == FREE


# -- settings --------------------------------------------------------------------------------------------


def test_the_settings_defaults() -> None:
    settings = RetrySettings()
    assert (settings.attempts, settings.max_wait, settings.backoff, settings.budget) == (4, 30.0, 0.5, 0.2)
    assert settings.statuses == (502, 503, 504)
    assert (settings.gate, settings.read_timeout) == ("auto", False)


def test_lists_may_stand_in_one_variable() -> None:
    settings = RetrySettings.model_validate({"statuses": "500, 502", "methods": "GET,POST"})
    assert settings.statuses == (500, 502)
    assert settings.methods == ("GET", "POST")


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": -1},
        {"max_wait": "soon"},
        {"backoff": -1},
        {"statuses": [200]},
        {"statuses": [600]},
        {"methods": ["G T"]},
        {"methods": ["GET\n"]},
        {"methods": [""]},
        {"budget": 1.1},
        {"gate": "path"},
        {"read_timeout": "70s"},
        {"budget": -0.1},
        {"unknown": 1},
    ],
)
def test_mistakes_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RetrySettings.model_validate(wrong)


@pytest.mark.parametrize("method", ["LIST", "VERSION-CONTROL", "a!b", "get"])
def test_any_method_may_be_one_that_is_repeated(method: str) -> None:
    settings = RetrySettings.model_validate({"methods": [method]})
    assert may_repeat(method, idempotency_key=False, settings=settings)
    assert not may_repeat("GET", idempotency_key=False, settings=settings)
