"""wrk: as many requests as can be had over a number of connections."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import LoadError

_UNITS = {"us": 1000, "ms": 1, "s": 1 / 1000, "m": 1 / 60_000}  # in a millisecond


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        requests: how many were answered.
        rate: answers per second.
        p50: median of the latency, in milliseconds.
        p99: its 99th percentile.
        socket_errors: connections refused, broken or timed out.
        refusals: answers that were neither 2xx nor 3xx.

    """

    requests: int
    rate: float
    p50: float
    p99: float
    socket_errors: int
    refusals: int


def parse(text: str) -> Outcome:
    """Read what ``wrk --latency`` printed.

    Raises:
        LoadError: it is something else.

    """
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refusals = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Outcome(
        requests=int(_found(r"(\d+) requests in", text)[1]),
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", text)[1]),
        p50=_percentile("50%", text),
        p99=_percentile("99%", text),
        socket_errors=sum(map(int, errors.groups())) if errors else 0,
        refusals=int(refusals[1]) if refusals else 0,
    )


def _percentile(name: str, text: str) -> float:
    value, unit = _found(rf"^\s+{name}\s+([\d.]+)(us|ms|s|m)\s*$", text).groups()
    return float(value) / _UNITS[unit]


def _found(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise LoadError(f"wrk said: {text.strip() or 'nothing'}")
    return match


def drive(url: str, *, core: int, seconds: float, connections: int, arguments: Sequence[str] = ()) -> Outcome:
    """Run wrk on one core.

    Raises:
        LoadError: it failed, got no answer, or one that was neither 2xx nor 3xx.

    """
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}", "--latency"]
    done = subprocess.run([*command, *arguments, url], capture_output=True, text=True, check=False)
    outcome = parse(done.stdout + done.stderr)
    if not outcome.requests:
        raise LoadError(f"no request was answered within {seconds:g} s")
    if outcome.refusals:
        raise LoadError(f"{outcome.refusals} of {outcome.requests} answers were neither 2xx nor 3xx")
    return outcome
