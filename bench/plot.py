"""Results as a picture (SVG): a panel for each scenario, a bar for each case."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.metrics import METRICS
from bench.result import Result

_WIDTH, _NAMES, _VALUES = 720, 110, 90  # pixels: of all, of the names left of the bars, of the numbers right of them
_BAR, _GAP, _TITLE = 18, 6, 34
_STEEP = 20  # from this ratio on of the longest bar to the shortest, lengths are logarithmic
_OURS, _OTHERS, _INK, _PAPER = "#2563eb", "#9ca3af", "#1f2937", "#ffffff"


def svg(results: Sequence[Result]) -> str:
    """Return the picture; scenarios that have fewer than two cases to compare are left out."""
    panels = [result for result in results if len(result.readings) > 1]
    height = sum(map(_height, panels)) + _GAP
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    font = f'font-family="sans-serif" font-size="12" fill="{_INK}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="{_PAPER}"/>',
    ]
    top = 0
    for result in panels:
        lines += _panel(result, top)
        top += _height(result)
    return "\n".join([*lines, "</svg>", ""])


def _height(result: Result) -> int:
    return _TITLE + len(result.readings) * (_BAR + _GAP)


def _panel(result: Result, top: int) -> Iterator[str]:
    metric = METRICS[result.question]
    values = {case: result.median(case, result.question) or 0.0 for case in result.readings}
    logarithmic = is_steep(list(values.values()))
    unit = f"{metric.label}, logarithmic" if logarithmic else metric.label
    yield f'<text x="8" y="{top + 24}" font-weight="bold">{escape(result.title)} ({escape(unit)})</text>'
    ranked = sorted(values, key=lambda case: values[case])
    shares = lengths([values[case] for case in ranked], logarithmic=logarithmic)
    for place, (case, share) in enumerate(zip(ranked, shares, strict=True)):
        y = top + _TITLE + place * (_BAR + _GAP)
        width = round(share * (_WIDTH - _NAMES - _VALUES))
        colour = _OURS if case == "countersign" else _OTHERS
        yield f'<text x="{_NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(case)}</text>'
        yield f'<rect x="{_NAMES}" y="{y}" width="{width}" height="{_BAR}" fill="{colour}"/>'
        yield f'<text x="{_NAMES + width + 6}" y="{y + 13}">{metric.show(values[case])}</text>'


def is_steep(values: Sequence[float]) -> bool:
    """Whether bars would differ too much to be seen together."""
    return min(values) > 0 and max(values) / min(values) > _STEEP


def lengths(values: Sequence[float], *, logarithmic: bool) -> list[float]:
    """Return how long each bar is, as a share of the longest one.

    Logarithmic ones begin at half of the smallest value, so that it has a bar, too.
    """
    longest = max(values)
    if longest <= 0:
        return [0.0 for _ in values]
    if not logarithmic:
        return [max(0.0, value) / longest for value in values]
    origin = min(values) / 2
    return [math.log(value / origin) / math.log(longest / origin) for value in values]
