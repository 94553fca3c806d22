"""Medians, ratios and verdicts."""

from __future__ import annotations

import pytest

from bench.result import Result
from bench.scenarios import Goal

RESULT = Result(
    "small", "small answers", "cpu", "caddy",
    {
        # The machine is twice as slow in the second round; both feel it.
        "countersign": [{"cpu": 50.0, "errors": 0}, {"cpu": 100.0, "errors": 2}, {"cpu": 60.0, "errors": 0}],
        "caddy": [{"cpu": 100.0, "errors": 0}, {"cpu": 200.0, "errors": 0}, {"cpu": 100.0, "errors": 0}],
    },
    {"envoy": "is missing"},
)  # fmt: skip


def test_metrics_stand_in_their_order() -> None:
    assert RESULT.metrics == ["cpu", "errors"]


@pytest.mark.parametrize(("case", "metric", "expected"), [
    ("countersign", "cpu", 60.0), ("caddy", "cpu", 100.0), ("caddy", "p99", None), ("envoy", "cpu", None),
])  # fmt: skip
def test_median(case: str, metric: str, expected: float | None) -> None:
    assert RESULT.median(case, metric) == expected


def test_ratios_are_of_rounds() -> None:
    assert RESULT.ratio("countersign", "caddy", "cpu") == 0.5


def test_nothing_is_divided_by_zero_or_by_nobody() -> None:
    assert RESULT.ratio("countersign", "caddy", "errors") is None
    assert RESULT.ratio("countersign", "envoy", "cpu") is None


@pytest.mark.parametrize(("goal", "value", "met"), [
    (Goal("cpu", 0.9), 0.5, True),
    (Goal("cpu", 0.4), 0.5, False),
    (Goal("cpu", 100, of=None), 60.0, True),
    (Goal("cpu", 0.9, of="envoy"), None, False),
])  # fmt: skip
def test_a_goal_is_met_or_not(goal: Goal, value: float | None, met: bool) -> None:
    verdict = RESULT.verdict(goal)
    assert (verdict.value, verdict.met) == (value, met)
