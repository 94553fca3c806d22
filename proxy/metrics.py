"""What is counted, under the names that users' dashboards know. Label children are bound once and kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from proxy.gateway import Story

Family = Metric
"""A name with its samples."""

_EXPIRES = "countersign_token_expires_at_seconds"
# Others are counted as one: a client may make up as many as it likes.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The process's counters.

    Args:
        in_progress: how many requests are under way.
        expiries: credential and epoch seconds of its token's expiry, asked when somebody looks.

    """

    def __init__(
        self,
        in_progress: Callable[[], float] = lambda: 0.0,
        expiries: Callable[[], Iterable[tuple[str, float]]] = lambda: (),
    ) -> None:
        # When a series began says nothing that the process's start does not.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "countersign_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self._duration = Histogram(
            "countersign_request_duration_seconds",
            "From a request's head to its answer's end",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._attempts = Counter(
            "countersign_upstream_attempts", "Requests sent upstream", ["route", "outcome"], registry=registry
        )
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
        registry.register(_Expiries(expiries))
        self._bound: dict[tuple[str, str, int], Counter] = {}
        self._bound_attempts: dict[tuple[str, str], Counter] = {}

    def request(self, story: Story, duration: float) -> None:
        """Count a request that is over; `duration` in seconds."""
        self._request(story).inc()
        self._duration.observe(duration)
        for outcome in story.outcomes:
            self._attempt(story.route, outcome).inc()
        if story.waited:
            self._waits.inc(story.waited)
        if story.replays:
            self._replays.inc(story.replays)

    def _request(self, story: Story) -> Counter:
        method = story.method if story.method in _METHODS else "other"
        counter = self._bound.get((story.route, method, story.status))
        if counter is None:
            counter = self._requests.labels(story.route, method, str(story.status or "cancelled"))
            self._bound[story.route, method, story.status] = counter
        return counter

    def _attempt(self, route: str, outcome: str) -> Counter:
        counter = self._bound_attempts.get((route, outcome))
        if counter is None:
            counter = self._bound_attempts[route, outcome] = self._attempts.labels(route, outcome)
        return counter

    def renewal(self, credential: str, outcome: str) -> None:
        """Count a token request."""
        self._renewals.labels(credential, outcome).inc()

    def families(self) -> tuple[Family, ...]:
        """Return what has been counted so far."""
        return tuple(self._registry.collect())


class _Expiries(Collector):
    def __init__(self, expiries: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._expiries = expiries

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(_EXPIRES, "When the token expires (epoch)", labels=["credential"])
        for credential, expiry in self._expiries():
            family.add_metric([credential], expiry)
        yield family


# -- several processes -------------------------------------------------------------------------------------


def summed(each: Iterable[Iterable[Family]]) -> tuple[Family, ...]:
    """Return the sum over processes, each with its families; of when a token expires, the latest."""
    found: dict[str, Family] = {}
    values: dict[str, dict[tuple[str, frozenset[tuple[str, str]]], Sample]] = {}
    for family in itertools.chain.from_iterable(each):
        found.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            if key in known:
                pair = (known[key].value, sample.value)
                known[key] = sample._replace(value=max(pair) if family.name == _EXPIRES else sum(pair))
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
    registry.register(_Told(families))
    return generate_latest(registry)


class _Told(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families
