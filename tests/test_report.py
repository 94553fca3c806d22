"""What several processes tell together."""

from __future__ import annotations

from proxy.gateway import Story
from proxy.metrics import Metrics, text
from proxy.report import Report, remains, total
from proxy.tokens import Standing


def counted(requests: int) -> Metrics:
    metrics = Metrics(lambda: 1.0)
    for _ in range(requests):
        story = Story("GET", "/x", 0.0)
        story.route, story.status = "a", 200
        metrics.request(story, 0.1)
    return metrics


def test_counts_are_added_and_times_are_the_latest() -> None:
    one = Report(counted(2).families(), 1, 3, {"a": 10.0, "b": 5.0}, {"a": 0.0})
    two = Report(counted(3).families(), 1, 4, {"a": 9.0}, {"a": 7.5})
    both = total([one, two])
    assert (both.processes, both.connections) == (2, 7)
    assert both.expires == {"a": 10.0, "b": 5.0}
    assert both.throttled == {"a": 7.5}
    assert b'countersign_requests_total{method="GET",route="a",status="200"} 5.0' in text(both.families)
    assert b"countersign_requests_in_progress 2.0" in text(both.families)


def test_nobody_tells_anything() -> None:
    assert total([]) == Report()


def test_of_a_process_that_has_ended_its_counters_stay() -> None:
    left = remains(Report(counted(2).families(), 1, 3, {"a": 10.0}, {"a": 1.0}))
    assert (left.processes, left.connections, left.expires, left.throttled) == (0, 0, {}, {})
    assert b'countersign_requests_total{method="GET",route="a",status="200"} 2.0' in text(left.families)
    assert b"in_progress" not in text(left.families)


def test_of_tokens_the_latest_dates_and_any_trouble_are_told() -> None:
    one = Report(tokens={"a": Standing(10.0, None, "", "disk full"), "b": Standing(None)}, trouble="away")
    two = Report(tokens={"a": Standing(9.0, 7.0, "refused"), "c": Standing(None, 3.0)})
    both = total([one, two])
    assert both.tokens == {
        "a": Standing(10.0, 7.0, "refused", "disk full"), "b": Standing(None), "c": Standing(None, 3.0),
    }  # fmt: skip
    assert both.trouble == "away"
