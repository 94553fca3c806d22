"""The table, word for word."""

from __future__ import annotations

import json

from bench.report import as_json, markdown, table
from bench.result import Result
from bench.scenarios import Goal

RESULT = Result(
    "small", "small answers", "cpu", "caddy",
    {"countersign": [{"cpu": 50.0, "rate": 20000}], "caddy": [{"cpu": 100.0, "rate": 10000}]},
    {"envoy": "it ended: no such file"},
    (Goal("cpu", 0.9), Goal("cpu", 0.4), Goal("p99", 10, of=None)),
)  # fmt: skip

EXPECTED = """\
### small: small answers

|             | CPU µs/request | of caddy |  req/s |
|-------------|---------------:|---------:|-------:|
| countersign |           50.0 |     0.50 | 20,000 |
| caddy       |          100.0 |     1.00 | 10,000 |

- envoy was left out: it ended: no such file
- goal: CPU µs/request of caddy at most 0.9: 0.50, met
- goal: CPU µs/request of caddy at most 0.4: 0.50, NOT met
- goal: p99 ms at most 10: not measured
"""


def test_the_table() -> None:
    assert markdown([RESULT]) == EXPECTED


def test_columns_are_as_wide_as_they_have_to_be() -> None:
    assert list(table([["", "b"], ["aa", "1"]])) == ["|    | b |", "|----|--:|", "| aa | 1 |"]


def test_programs_get_all_rounds() -> None:
    read = json.loads(as_json([RESULT], {"kernel": "Linux"}))
    assert read["machine"] == {"kernel": "Linux"}
    assert read["scenarios"][0]["readings"]["countersign"] == [{"cpu": 50.0, "rate": 20000}]
    assert [each["met"] for each in read["scenarios"][0]["verdicts"]] == [True, False, False]
