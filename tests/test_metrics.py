"""What is counted, under which names."""

from __future__ import annotations

import asyncio
import pickle
import re

from proxy.gateway import Story
from proxy.metrics import Metrics, counters, summed, text


def story(**facts: object) -> Story:
    made = Story("GET", "/x", 0.0)
    for name, value in {"route": "a", "status": 200, **facts}.items():
        setattr(made, name, value)
    return made


def lines(metrics: Metrics) -> list[str]:
    return [line for line in text(metrics.families()).decode().splitlines() if not line.startswith("#")]


def test_the_names_that_dashboards_know() -> None:
    metrics = Metrics(lambda: 3, lambda: [("github", 1_800_000_000.0)])
    metrics.request(
        story(
            outcomes=(
                "2xx",
                "connection_refused",
            ),
            waited=1.5,
            replays=1,
        ),
        0.2,
    )
    metrics.request(story(outcomes=("2xx",)), 0.003)
    metrics.renewal("github", "success")
    found = lines(metrics)
    for line in (
        'countersign_requests_total{method="GET",route="a",status="200"} 2.0',
        'countersign_request_duration_seconds_bucket{le="0.005"} 1.0',
        "countersign_request_duration_seconds_count 2.0",
        "countersign_requests_in_progress 3.0",
        'countersign_upstream_attempts_total{outcome="2xx",route="a"} 2.0',
        'countersign_upstream_attempts_total{outcome="connection_refused",route="a"} 1.0',
        "countersign_replays_total 1.0",
        "countersign_throttle_wait_seconds_total 1.5",
        'countersign_token_renewals_total{credential="github",outcome="success"} 1.0',
        'countersign_token_expires_at_seconds{credential="github"} 1.8e+09',
    ):
        assert line in found
    assert all(line.startswith("countersign_") and "_created" not in line for line in found)


def test_nothing_has_happened_yet() -> None:
    found = lines(Metrics())
    assert "countersign_requests_in_progress 0.0" in found
    assert "countersign_replays_total 0.0" in found
    assert "countersign_tasks 0.0" in found


async def test_tasks_are_counted_where_there_are_any() -> None:
    before = lines(Metrics())
    other = asyncio.create_task(asyncio.sleep(60))
    after = lines(Metrics())
    other.cancel()
    assert "countersign_tasks 1.0" in before
    assert "countersign_tasks 2.0" in after


def test_registered_methods_are_counted_by_name() -> None:
    metrics = Metrics()
    for method in ("GET", "VERSION-CONTROL", "QUERY", "LIST", "get"):
        metrics.request(story(method=method), 0)
    found = re.findall(r'requests_total\{method="([^"]+)"', "\n".join(lines(metrics)))
    assert sorted(found) == ["GET", "QUERY", "VERSION-CONTROL", "other"]


def test_a_client_can_not_make_up_series() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.request(story(method=f"X{number}"), 0)
    found = [line for line in lines(metrics) if line.startswith("countersign_requests_total")]
    assert found == ['countersign_requests_total{method="other",route="a",status="200"} 50.0']


def test_a_request_without_an_answer() -> None:
    metrics = Metrics()
    metrics.request(story(status=0, route=""), 0)
    assert 'countersign_requests_total{method="GET",route="",status="cancelled"} 1.0' in lines(metrics)


def test_hostile_names_are_escaped() -> None:
    metrics = Metrics()
    metrics.request(story(route='a"\n}evil 1'), 0)
    assert 'countersign_requests_total{method="GET",route="a\\"\\n}evil 1",status="200"} 1.0' in lines(metrics)


# -- several processes -------------------------------------------------------------------------------------


def test_what_several_processes_have_counted_is_added() -> None:
    one = Metrics(lambda: 3, lambda: [("github", 5.0), ("x", 1.0)], lambda: [("github", 0.0), ("x", 9.0)], lambda: 2.0)
    two = Metrics(lambda: 4, lambda: [("github", 4.0)], lambda: [("github", 7.0)], lambda: 2.0)
    one.request(story(outcomes=("2xx",)), 0.2)
    two.request(story(outcomes=("2xx",)), 0.003)
    two.request(story(status=404, waited=2.5), 0.003)
    found = text(summed([one.families(), two.families()])).decode().splitlines()
    for line in (
        "# TYPE countersign_requests_total counter",
        'countersign_requests_total{method="GET",route="a",status="200"} 2.0',
        'countersign_requests_total{method="GET",route="a",status="404"} 1.0',
        "# TYPE countersign_request_duration_seconds histogram",
        'countersign_request_duration_seconds_bucket{le="0.005"} 2.0',
        'countersign_request_duration_seconds_bucket{le="+Inf"} 3.0',
        "countersign_request_duration_seconds_count 3.0",
        "countersign_requests_in_progress 7.0",
        "countersign_throttle_wait_seconds_total 2.5",
        'countersign_token_expires_at_seconds{credential="github"} 5.0',
        'countersign_token_expires_at_seconds{credential="x"} 1.0',
        'countersign_token_expires_in_seconds{credential="github"} 3.0',
        'countersign_token_expires_in_seconds{credential="x"} -1.0',
        'countersign_token_resting_until_seconds{credential="github"} 7.0',
        'countersign_token_resting_until_seconds{credential="x"} 9.0',
    ):
        assert line in found


def test_one_process_alone_is_told_as_it_is() -> None:
    metrics = Metrics(lambda: 3, lambda: [("github", 5.0)], now=lambda: 2.0)
    metrics.request(story(outcomes=("2xx",)), 0.2)
    assert text(summed([metrics.families()])) == text(metrics.families())


def test_what_only_grows() -> None:
    names = [family.name for family in counters(Metrics(lambda: 3, lambda: [("github", 5.0)]).families())]
    assert "countersign_requests" in names
    assert "countersign_request_duration_seconds" in names
    assert not {"countersign_requests_in_progress", "countersign_token_expires_at_seconds"} & set(names)


def test_a_process_can_send_it_to_another() -> None:
    metrics = Metrics()
    metrics.request(story(), 0.2)
    assert text(pickle.loads(pickle.dumps(metrics.families()))) == text(metrics.families())
