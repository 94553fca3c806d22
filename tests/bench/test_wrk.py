"""What wrk prints, in its units."""

from __future__ import annotations

import pytest

from bench.load import LoadError
from bench.load.wrk import Outcome, parse

CALM = """
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.49ms    1.09ms  21.05ms   90.59%
    Req/Sec    12.97k     1.30k   14.58k    75.00%
  Latency Distribution
     50%  950.00us
     75%    2.61ms
     90%    3.30ms
     99%    1.03s
  25821 requests in 2.00s, 11.23MB read
Requests/sec:  12889.04
Transfer/sec:      5.60MB
"""
STORMY = CALM.replace(
    "Requests/sec",
    "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 17\nRequests/sec",
)


def test_a_calm_run() -> None:
    assert parse(CALM) == Outcome(25821, 12889.04, 0.95, 1030.0, socket_errors=0, refusals=0)


def test_seconds_have_a_space_behind_them() -> None:
    assert parse(CALM.replace("1.03s", "1.03s ")).p99 == 1030.0


def test_errors_are_summed_up() -> None:
    outcome = parse(STORMY)
    assert (outcome.socket_errors, outcome.refusals) == (4321, 17)


def test_anything_else_is_told() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1 Connection refused")
