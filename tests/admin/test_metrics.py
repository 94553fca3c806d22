"""The counters, after requests over real sockets."""

from __future__ import annotations

import re

from .conftest import Admin, call


async def test_every_name_after_requests(admin: Admin) -> None:
    running, client = await admin()
    for path in ["/bearer/hello", "/oauth2/hello", "/none"]:
        await call(running, path)
    for _ in range(6):  # the demo API revokes a token after five uses
        await call(running, "/oauth2/hello")
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    for pattern in (
        r'countersign_requests_total\{method="GET",route="bearer",status="200"\} 1\.0',
        r'countersign_requests_total\{method="GET",route="",status="404"\} 1\.0',
        r"countersign_request_duration_seconds_count 9\.0",
        r"countersign_requests_in_progress 0\.0",
        r'countersign_upstream_attempts_total\{outcome="2xx",route="oauth2"\} 7\.0',
        r'countersign_upstream_attempts_total\{outcome="4xx",route="oauth2"\} \d',
        r"countersign_replays_total [1-9]",
        r"countersign_throttle_wait_seconds_total 0\.0",
        r'countersign_token_renewals_total\{credential="oauth2",outcome="success"\} [2-9]',
        r'countersign_token_expires_in_seconds\{credential="oauth2"\} \d',
        r'countersign_token_resting_until_seconds\{credential="oauth2"\} 0\.0',
        r'countersign_token_expires_at_seconds\{credential="oauth2"\} 1\.\d+e\+09',
    ):
        assert re.search(f"^{pattern}", answer.text, re.MULTILINE), pattern
