"""The soak judges as it should: its own bodies, its own network, what is flat and what is an honest failure."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import aiohttp
import pytest

from bench.soak.api import FIELD
from bench.soak.clients import KINDS, Client, FailedError, WrongError
from bench.soak.network import harmful
from bench.soak.pattern import digest, pattern
from bench.soak.watch import Sample, slope, trends
from tests.relay import UNHARMED


def test_a_body_is_told_from_others_and_from_its_own_pieces() -> None:
    body = pattern(7, 300_000)
    assert len(body) == 300_000
    assert body == pattern(7, 300_000) != pattern(8, 300_000)
    assert body[: 1 << 16] != body[1 << 16 : 2 << 16]
    assert digest(b"") == "0 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_most_connections_are_well_and_the_same_ones_each_time() -> None:
    plan = harmful(1)
    fates = [plan(number) for number in range(500)]
    assert fates == [harmful(1)(number) for number in range(500)]
    assert 0.6 < sum(each == UNHARMED for each in fates) / len(fates) < 0.8
    assert {each.down.end for each in fates if each.down.after is not None} >= {"reset", "close", "half-close", "hang"}


def samples(*memory: float) -> list[Sample]:
    return [Sample(number, each, 10, 3, 5) for number, each in enumerate(memory)]


@pytest.mark.parametrize(
    ("memory", "flat"),
    [
        ([10, 40, 100, 100, 101, 99, 100, 100], True),  # it may warm up
        ([100] * 4 + [101, 102, 103, 104], True),
        ([100] * 4 + [104, 106, 108, 110], False),
        ([100, 90, 80, 70, 60, 50, 40, 30], True),
    ],
)
def test_what_grew_between_the_second_and_the_last_quarter_is_not_flat(memory: list[float], flat: bool) -> None:
    found = trends(samples(*memory))
    assert [trend.name for trend in found] == ["memory", "descriptors", "tasks", "connections"]
    assert [trend.is_flat for trend in found] == [flat, True, True, True]


def test_a_slope_is_that_of_the_line() -> None:
    assert slope([0, 1, 2], [5, 7, 9]) == 2
    assert slope([1, 1], [1, 5]) == 0


class Response:
    def __init__(self, status: int, told: str = "", *, body: bytes = b"", from_api: bool = False) -> None:
        self.status, self.body, self.url = status, body, "/x"
        self.headers = {"Proxy-Status": told} | ({FIELD: "1"} if from_api else {})

    async def read(self) -> bytes:
        return self.body


@pytest.mark.parametrize(
    ("response", "error", "text"),
    [
        (Response(200, body=b"other"), WrongError, "not the 4 that were asked for"),
        (Response(500, from_api=True), WrongError, "500"),
        (Response(502), WrongError, "nobody says whose"),
        (Response(502, "countersign; error=proxy_internal_error"), WrongError, "internal"),
        (Response(502, 'countersign; error=dns_error; details="x"'), FailedError, "502 dns_error"),
        (Response(429, from_api=True), FailedError, "429 of the API"),
        (
            Response(401, 'countersign; details="renewal failed: x"', from_api=True),
            FailedError,
            "401 of the API, renewal failed: x",
        ),
    ],
)
async def test_only_an_honest_failure_is_none(response: Response, error: type[Exception], text: str) -> None:
    client = Client(cast("Any", None), "", Random(1))
    with pytest.raises(error, match=text):
        await client.expect(cast("aiohttp.ClientResponse", response), b"body")


def test_the_shares_make_a_hundred() -> None:
    assert sum(share for share, _ in KINDS.values()) == 100
