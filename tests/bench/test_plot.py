"""Bars are as long as what they stand for, and the picture is well-formed."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench.plot import is_steep, lengths, svg
from bench.result import Result

SVG = "{http://www.w3.org/2000/svg}"


def result(title: str, **values: float) -> Result:
    return Result("x", title, "cpu", "caddy", {case: [{"cpu": value}] for case, value in values.items()}, {})


@pytest.mark.parametrize(("values", "logarithmic", "expected"), [
    ([1, 2, 4], False, [0.25, 0.5, 1.0]),
    ([10, 20, 80], True, [1 / 4, 2 / 4, 1.0]),
    ([0, 0], False, [0.0, 0.0]),
    ([-1, 2], False, [0.0, 1.0]),
])  # fmt: skip
def test_lengths(values: list[float], logarithmic: bool, expected: list[float]) -> None:
    assert lengths(values, logarithmic=logarithmic) == pytest.approx(expected)


def test_what_differs_too_much_is_logarithmic() -> None:
    assert is_steep([1, 21])
    assert not is_steep([1, 20])
    assert not is_steep([0, 20])


def test_a_panel_for_each_scenario_that_compares() -> None:
    picture = ET.fromstring(svg([result("a < b", countersign=50.0, caddy=100.0), result("alone", countersign=1.0)]))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts == ["a < b (CPU µs/request)", "countersign", "50.0", "caddy", "100.0"]
    bars = [int(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect")][1:]
    assert bars == [260, 520]
