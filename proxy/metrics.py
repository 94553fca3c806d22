"""What is counted, under the names that users' dashboards know."""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from proxy.gateway import Story
from proxy.methods import REGISTERED

Family = Metric
"""A name with its samples."""

_EXPIRES_AT, _EXPIRES_IN = "countersign_token_expires_at_seconds", "countersign_token_expires_in_seconds"
_RESTS = "countersign_token_resting_until_seconds"
_LATEST = (_EXPIRES_AT, _EXPIRES_IN, _RESTS)  # where several processes tell them; other values are added
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The process's counters.

    Args:
        in_progress: how many requests are under way.
        expiries: credential and epoch seconds of its token's expiry, asked when somebody looks.
        rests: credential and epoch seconds until when nobody asks for another token, 0 for those that don't rest.
        now: epoch seconds.

    """

    def __init__(
        self,
        in_progress: Callable[[], float] = lambda: 0.0,
        expiries: Callable[[], Iterable[tuple[str, float]]] = lambda: (),
        rests: Callable[[], Iterable[tuple[str, float]]] = lambda: (),
        now: Callable[[], float] = time.time,
    ) -> None:
        # When a series began says nothing that the process's start does not.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated
        self._registry = registry = CollectorRegistry()
        # By route, method, status and outcomes of what was sent upstream.
        self._requests: dict[tuple[str, str, int, tuple[str, ...]], int] = {}
        self._durations = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        registry.register(_Collected(self._told))
        self._replays = Counter("countersign_replays", "Requests sent again after a renewal", registry=registry)
        self._waits = Counter(
            "countersign_throttle_wait_seconds", "Waited since the API or a backoff said so", registry=registry
        )
        self._renewals = Counter(
            "countersign_token_renewals", "Token requests", ["credential", "outcome"], registry=registry
        )
        Gauge(
            "countersign_requests_in_progress", "Requests under way", registry=registry
        ).set_function(lambda: in_progress())  # fmt: skip
        Gauge("countersign_tasks", "Tasks of the event loop: connections, and what goes on beside them",
              registry=registry).set_function(_tasks)  # fmt: skip
        registry.register(_Collected(lambda: _tokens(expiries(), rests(), now())))

    def request(self, story: Story, duration: float) -> None:
        """Count a request that is over; `duration` in seconds."""
        # Plain numbers: every request pays for them, and four of the library's counters cost as much as a route.
        # Clients may make up as many methods as they like.
        method = story.method if story.method in REGISTERED else "other"
        key = (story.route, method, story.status, story.outcomes)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._durations[bisect_left(_BUCKETS, duration)] += 1
        self._seconds += duration
        if story.waited:
            self._waits.inc(story.waited)
        if story.replays:
            self._replays.inc(story.replays)

    def renewal(self, credential: str, outcome: str) -> None:
        """Count a token request."""
        self._renewals.labels(credential, outcome).inc()

    def families(self) -> tuple[Family, ...]:
        """Return what has been counted so far."""
        return tuple(self._registry.collect())

    def _told(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "countersign_requests", "Requests answered", labels=["route", "method", "status"]
        )
        attempts = CounterMetricFamily(
            "countersign_upstream_attempts", "Requests sent upstream", labels=["route", "outcome"]
        )
        answered, sent = Tally[tuple[str, ...]](), Tally[tuple[str, ...]]()
        for (route, method, status, outcomes), count in self._requests.items():
            answered[route, method, str(status or "cancelled")] += count
            for outcome in outcomes:
                sent[route, outcome] += count
        for labels, count in answered.items():
            requests.add_metric(labels, count)
        for labels, count in sent.items():
            attempts.add_metric(labels, count)
        bounds = [*map(floatToGoString, _BUCKETS), "+Inf"]
        buckets = list(zip(bounds, itertools.accumulate(self._durations), strict=True))
        name, help_text = "countersign_request_duration_seconds", "From a request's head to its answer's end"
        yield from (
            requests,
            attempts,
            HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=self._seconds),
        )


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked outside of a loop
        return 0


class _Collected(Collector):
    """Families that are made when somebody looks."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def _tokens(expiries: Iterable[tuple[str, float]], rests: Iterable[tuple[str, float]], now: float) -> Iterator[Metric]:
    expiries = list(expiries)
    yield _by_credential(_EXPIRES_AT, "When the token expires (epoch)", expiries)
    left = [(credential, expiry - now) for credential, expiry in expiries]
    yield _by_credential(_EXPIRES_IN, "Seconds until the token expires", left)
    yield _by_credential(_RESTS, "Until when nobody asks for another token (epoch), or 0", rests)


def _by_credential(name: str, text: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["credential"])
    for credential, value in values:
        family.add_metric([credential], value)
    return family


# -- several processes -------------------------------------------------------------------------------------


def summed(each: Iterable[Iterable[Family]]) -> tuple[Family, ...]:
    """Return the sum over processes, each with its families; of a token's dates the latest."""
    found: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for family in itertools.chain.from_iterable(each):
        found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            if key in known:
                pair = (known[key].value, sample.value)
                known[key] = sample._replace(value=max(pair) if family.name in _LATEST else sum(pair))
            else:
                known[key] = sample
    for name, family in found.items():
        family.samples = list(values[name].values())
    return tuple(found.values())


def counters(families: Iterable[Family]) -> tuple[Family, ...]:
    """Return those that only ever grow."""
    return tuple(family for family in families if family.type in ("counter", "histogram"))


def text(families: Iterable[Family]) -> bytes:
    """Return families in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(lambda: families))
    return generate_latest(registry)
