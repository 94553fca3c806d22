"""Results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from bench.metrics import METRICS
from bench.result import Result, Verdict

Row = Sequence[str]


def markdown(results: Sequence[Result]) -> str:
    """Return all results as Markdown, aligned so that it reads well as plain text, too."""
    return "\n".join(line for result in results for line in _section(result))


def _section(result: Result) -> Iterator[str]:
    yield f"### {result.name}: {result.title}"
    yield ""
    if result.readings:
        yield from table(list(_rows(result)))
        yield ""
    for case, reason in result.skipped.items():
        yield f"- {case} was left out: {reason}"
    for goal in result.goals:
        yield f"- goal: {told(result.verdict(goal))}"
    yield ""


def told(verdict: Verdict) -> str:
    """Return a sentence on a goal."""
    wanted = f"{verdict.text} at most {verdict.at_most:g}"
    if verdict.value is None:
        return f"{wanted}: not measured"
    return f"{wanted}: {verdict.value:.2f}, {'met' if verdict.met else 'NOT met'}"


def _rows(result: Result) -> Iterator[Row]:
    metrics = result.metrics
    compared = result.base in result.readings
    first = [METRICS[metrics[0]].label, *([f"of {result.base}"] if compared else [])]
    yield ["", *first, *(METRICS[metric].label for metric in metrics[1:])]
    for case in result.readings:
        shown = [_shown(metric, result.median(case, metric)) for metric in metrics]
        ratio = result.ratio(case, result.base, metrics[0])
        yield [case, shown[0], *([f"{ratio:.2f}" if ratio else ""] if compared else []), *shown[1:]]


def _shown(metric: str, value: float | None) -> str:
    return "" if value is None else METRICS[metric].show(value)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table; the first row is its head, the first column stands left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Row) -> str:
        cells = [
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    yield line(rows[0])
    yield (
        "|"
        + "|".join(f"{'-' * (width + 1)}:" if place else "-" * (width + 2) for place, width in enumerate(widths))
        + "|"
    )
    yield from map(line, rows[1:])


def as_json(results: Sequence[Result], machine: Mapping[str, str]) -> str:
    """Return everything that was read, round by round."""
    scenarios = [
        {**asdict(result), "verdicts": [_verdict(result.verdict(goal)) for goal in result.goals]} for result in results
    ]
    return json.dumps({"machine": machine, "scenarios": scenarios}, indent=1)


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {**asdict(verdict), "met": verdict.met}
