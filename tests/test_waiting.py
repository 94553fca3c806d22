"""Whether an answer says to wait, and how long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.waiting import is_throttling, told_wait, whole_seconds

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


def wait(*fields: tuple[bytes, bytes]) -> float | None:
    return told_wait(fields, NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"7", 7.0),
        (b" 7 ", 7.0),
        (b"007", 7.0),
        (b"1.5", 1.5),
        (b"86400", 86400.0),
        (b"99999999999999999999", 1e20),
        (b"Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        (b"Fri, 15 Jan 2027 07:59:00 GMT", 0.0),
        (b"Friday, 15-Jan-27 08:00:30 GMT", 30.0),
        (b"Fri Jan 15 08:00:30 2027", 30.0),
        (b"Fri, 15 Jan 2027 08:00:30", 30.0),
        (b"Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        (b"Fri, 15 Jan 2027 09:00:30 +0100", 30.0),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"2027-01-15T08:00:30Z", 30.0),
        (b"2, 2", 2.0),
        (b"2,7.5,3", 7.5),
        (b"1,5", 5.0),
        (b"soon, 4", 4.0),
        (b"4, ", 4.0),
        (b"4, Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        (b"Fri, 15 Jan 2027 08:00:30 GMT, 4", 30.0),
        (b"Fri, 15 Jan 2027 08:00:30 GMT, Fri, 15 Jan 2027 08:00:40 GMT", 40.0),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_retry_after(value: bytes, seconds: float, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert wait((b"Retry-After", value)) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "value",
    [
        b"", b" ", b"-1", b"+1", b"1e3", b"0x10", b"nan", b"inf", b"soon", b"1 2", b"1.", b".5", b",", b"\xb2",
        b"\xff\xfe",
        b"999999999999999999999", b"Fri, 99 Jan 2027 08:00:30 GMT", b"Fri, 15 Jan 99999 08:00:30 GMT", b"GMT",
        b"1\x002",
        b"\xd9\xa3",
    ],
)  # fmt: skip
def test_what_is_no_time_is_as_if_it_were_missing(value: bytes) -> None:
    assert wait((b"Retry-After", value)) is None
    assert wait((b"Retry-After", value), (b"RateLimit-Reset", b"5")) == 5.0
    assert wait((b"Retry-After", value), (b"Retry-After", b"3")) == 3.0


@pytest.mark.parametrize(
    "name", [b"RateLimit-Reset", b"X-RateLimit-Reset", b"X-Rate-Limit-Reset", b"x-ratelimit-reset"]
)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"12", 12.0),
        (b"12.5", 12.5),
        (b"86400", 86400.0),
        (b"1800000030", 30.0),
        (b"1800000000", 0.0),
        (b"1700000000", 0.0),
        (b"1800000030.5", 30.5),
        (b"1800000030000", 30.0),
        (b"2027-01-15T08:00:30Z", 30.0),
        (b"2027-01-15T08:00:30", 30.0),
        (b"2027-01-15t08:00:30z", 30.0),
        (b"2027-01-15 08:00:30 UTC", 30.0),
        (b"2027-01-15 08:00:30 +0000 UTC", 30.0),
        (b"2027-01-15 08:00:30.5+00:00", 30.5),
        (b"2027-01-15T09:00:30+01:00", 30.0),
        (b"2027-01-15T07:00:00Z", 0.0),
        (b"Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        (b"12, 12", 12.0),
        (b"2027-99-15T08:00:30Z", None),
        (b"-5", None),
        (b"soon", None),
        (b"", None),
    ],
)
def test_a_small_reset_is_seconds_and_a_large_one_an_epoch(name: bytes, value: bytes, seconds: float | None) -> None:
    assert wait((name, value)) == seconds


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        (b"retry-after-ms", b"1500", 1.5),
        (b"Retry-After-Ms", b"0", 0.0),
        (b"retry-after-ms", b"250.5, 100", 0.2505),
        (b"retry-after-ms", b"2s", None),
        (b"X-RateLimit-Reset-After", b"0.529", 0.529),
        (b"X-RateLimit-Reset-After", b"1800000030", 1800000030.0),  # never an epoch
        (b"X-RateLimit-Reset-After", b"soon", None),
        (b"RateLimit", b'"default";r=0;t=30', 30.0),
        (b"RateLimit", b'"default"; r=0; t=30; pk=:dHdv:', 30.0),
        (b"RateLimit", b"default;r=0;t=30", 30.0),
        (b"RateLimit", b'"a, \\"b;t=99";t=7;r=0', 7.0),
        (b"RateLimit", b'"burst";r=0;t=2, "daily";r=900;t=80000', 2.0),
        (b"RateLimit", b'"burst";r=5;t=2, "daily";r=0;t=80000', 80000.0),
        (b"RateLimit", b'"burst";r=0;t=2, "daily";r=0;t=90', 90.0),
        (b"RateLimit", b'"burst";r=0, "daily";r=5;t=90', None),
        (b"RateLimit", b'"default";t=8', 8.0),
        (b"RateLimit", b"limit=100, remaining=0, reset=30", 30.0),
        (b"RateLimit", b"limit=100;w=60, remaining=0,reset=30;x", 30.0),
        (b"RateLimit", b'"default";r=0;t=-3', None),
        (b"RateLimit", b"100", None),
        (b"RateLimit", b'"', None),
    ],
)
def test_other_fields_that_state_a_time(name: bytes, value: bytes, seconds: float | None) -> None:
    assert wait((name, value)) == seconds


def test_the_lines_of_a_structured_field_are_one_value() -> None:
    assert wait((b"RateLimit", b'"burst";r=0;t=2'), (b"ratelimit", b'"daily";r=9;t=80000')) == 2.0


FIRST_TO_LAST = [
    (b"Retry-After", b"1"), (b"retry-after-ms", b"2000"), (b"RateLimit", b'"a";r=0;t=3'), (b"X-RateLimit-Reset", b"4"),
    (b"X-RateLimit-Reset-After", b"5"),
]  # fmt: skip


@pytest.mark.parametrize("first", range(5))
def test_which_field_goes_before_which(first: int) -> None:
    assert wait(*reversed(FIRST_TO_LAST[first:])) == first + 1


def test_of_very_many_values_only_the_first_are_read() -> None:
    assert wait((b"Retry-After", b"1," * 1000 + b"99")) == 1.0
    assert wait((b"Retry-After", b"a," * 1000 + b"99")) is None


def test_retry_after_goes_before_a_reset() -> None:
    assert wait((b"X-RateLimit-Reset", b"60"), (b"retry-after", b"2")) == 2.0


def test_of_several_the_longest_counts() -> None:
    assert wait((b"Retry-After", b"2"), (b"RETRY-AFTER", b"9"), (b"Retry-After", b"4")) == 9.0
    assert wait((b"RateLimit-Reset", b"2"), (b"X-RateLimit-Reset", b"1800000009")) == 9.0


def test_nothing_told_is_nothing() -> None:
    assert wait() is None
    assert wait((b"Date", b"5"), (b"X-RateLimit-Limit", b"5")) is None


DATES = st.text('FriThuJanDec0123456789 ,:+-GMT.()\t"\\', max_size=40).map(str.encode)


LIMITS = st.text('"\\abrtlimitremainingreset;=, 0123456789.:-', max_size=60).map(str.encode)
NAMES = [b"Retry-After", b"retry-after-ms", b"RateLimit", b"X-RateLimit-Reset", b"X-RateLimit-Reset-After"]


@given(st.binary(max_size=60) | DATES | LIMITS, st.sampled_from(NAMES))
def test_no_value_ever_raises_or_goes_back_in_time(value: bytes, name: bytes) -> None:
    seconds = wait((name, value))
    assert seconds is None or 0 <= seconds <= 1e20


@pytest.mark.parametrize(("seconds", "whole"), [(-5, 1), (0, 1), (0.01, 1), (1, 1), (1.01, 2), (30, 30), (1e9, 10**9)])
def test_whole_seconds_are_rounded_up_and_never_zero(seconds: float, whole: int) -> None:
    assert whole_seconds(seconds) == whole


@pytest.mark.parametrize(
    ("status", "fields", "wanted"),
    [
        (429, [], True),
        (429, [(b"Retry-After", b"garbage")], True),
        (503, [], False),
        (503, [(b"retry-after", b"1")], True),
        (503, [(b"retry-after-ms", b"100")], True),
        (403, [(b"Retry-After-Ms", b"100")], True),
        (503, [(b"X-RateLimit-Remaining", b"0")], False),
        (403, [], False),
        (403, [(b"RETRY-AFTER", b"1")], True),
        (403, [(b"X-RateLimit-Remaining", b"0")], True),
        (403, [(b"x-ratelimit-remaining", b" 0 ")], True),
        (403, [(b"X-RateLimit-Remaining", b"1")], False),
        (403, [(b"X-RateLimit-Remaining", b"")], False),
        (401, [(b"Retry-After", b"1")], False),
        (500, [(b"Retry-After", b"1")], False),
        (502, [(b"Retry-After", b"1")], False),
        (200, [(b"Retry-After", b"1"), (b"X-RateLimit-Remaining", b"0")], False),
        (301, [(b"Retry-After", b"1")], False),
    ],
)
def test_what_means_too_many_requests(status: int, fields: list[tuple[bytes, bytes]], *, wanted: bool) -> None:
    assert is_throttling(status, fields) is wanted


def test_the_time_to_read_quotes_that_are_not_closed_grows_with_their_length() -> None:
    started = time.perf_counter()
    assert told_wait([(b"RateLimit", b'\\"' * 32000)], 0.0) is None
    assert time.perf_counter() - started < 1.0
