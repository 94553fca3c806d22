"""What a process tells of itself for the admin listener's pages, and what several tell together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.metrics import Family, counters, summed
from proxy.tokens import Standing


@dataclass(frozen=True, slots=True)
class Report:
    """What is true of a process at a moment, or of several.

    Attributes:
        families: what has been counted.
        processes: how many there are.
        connections: how many clients are connected.
        expires: epoch seconds at which a route's token expires, if it does, by the route's name.
        throttled: seconds until a route's API may be called again, by the route's name.
        tokens: how the tokens of credentials stand, by the credential's name.
        trouble: why tokens are not kept or shared at present; empty if they are.

    """

    families: tuple[Family, ...] = ()
    processes: int = 0
    connections: int = 0
    expires: Mapping[str, float] = field(default_factory=dict)
    throttled: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, Standing] = field(default_factory=dict)
    trouble: str = ""


def total(reports: Iterable[Report]) -> Report:
    """Return what the reports say together."""
    reports = list(reports)
    return Report(
        summed(report.families for report in reports),
        sum(report.processes for report in reports),
        sum(report.connections for report in reports),
        _highest(report.expires for report in reports),
        _highest(report.throttled for report in reports),
        _worst(report.tokens for report in reports),
        next((report.trouble for report in reports if report.trouble), ""),
    )


def remains(report: Report) -> Report:
    """Return what stays true when a process has ended: a counter never falls."""
    return Report(counters(report.families))


def _highest(maps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in maps:
        for name, value in each.items():
            found[name] = max(value, found.get(name, value))
    return found


def _worst(maps: Iterable[Mapping[str, Standing]]) -> dict[str, Standing]:
    """Of each credential the latest dates, and a trouble if there is one anywhere."""
    found: dict[str, Standing] = {}
    for each in maps:
        for name, one in each.items():
            known = found.get(name, one)
            found[name] = Standing(
                max((date for date in (known.expires_at, one.expires_at) if date is not None), default=None),
                max((date for date in (known.resting_until, one.resting_until) if date is not None), default=None),
                known.problem or one.problem,
                known.unsaved or one.unsaved,
                known.public if known.problem else one.public,
            )
    return found
