"""Who may see the admin listener's pages, and how they are served; over real sockets."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from proxy.admin import Page
from proxy.gateway import Answer
from tests.conftest import Start

from .conftest import TOKEN, Admin

OPEN = ("/healthz", "/readyz", "/metrics")
CLOSED = ("/", "/api/status")


@pytest.mark.parametrize("path", OPEN)
async def test_pages_for_machines_need_no_token(admin: Admin, path: str) -> None:
    _, client = await admin()
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
async def test_pages_for_people_want_the_token(admin: Admin, path: str) -> None:
    _, client = await admin()
    for query, headers in (
        ("", {}),
        ("?token=wrong", {}),
        ("?token=", {}),
        ("?token=%FF", {}),
        ("", {"Authorization": "Bearer wrong"}),
        ("", {"Authorization": f"Basic {TOKEN}"}),
        ("", {"Cookie": f"token={TOKEN}"}),
    ):
        refused = await client.get(path + query, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == 'Bearer realm="countersign"'
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert TOKEN not in refused.text
    for query, headers in ((f"?token={TOKEN}", {}), ("", {"Authorization": f"bearer {TOKEN}"})):
        assert (await client.get(path + query, headers=headers)).status_code == 200


async def test_a_generated_token_is_part_of_the_url_that_is_printed(start: Start) -> None:
    running = await start({"server": {"admin": "127.0.0.1:0"}, "routes": {"a": {"upstream": "http://localhost:1"}}})
    assert running.app.status_url
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        assert (await client.get(running.app.status_url)).status_code == 200
        assert (await client.get(running.admin_url)).status_code == 401


@pytest.mark.parametrize("path", [*OPEN, *CLOSED])
async def test_every_page_is_locked_down(admin: Admin, path: str) -> None:
    _, client = await admin()
    answer = await client.get(path, params={"token": TOKEN})
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", [*OPEN, *CLOSED])
async def test_head_is_get_without_a_body(admin: Admin, path: str) -> None:
    _, client = await admin()
    head = await client.head(path, params={"token": TOKEN})
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["Content-Type"] == (await client.get(path, params={"token": TOKEN})).headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_405(admin: Admin, method: str) -> None:
    _, client = await admin()
    answer = await client.request(method, "/healthz")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


async def test_other_paths_are_404(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/nope", params={"token": TOKEN})
    assert answer.status_code == 404
    assert "/healthz" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/nope", "/api/", "/healthz/", "/", "/api/status"])
async def test_without_the_token_every_other_path_is_the_same(admin: Admin, method: str, path: str) -> None:
    _, client = await admin()
    refused = await client.request(method, path)
    assert refused.status_code == 401
    assert refused.json()["detail"] == (await client.get("/")).json()["detail"]


@pytest.mark.parametrize("path", ["/healthz", "/"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example.com"}, 421),
        ({"Host": "0.0.0.0"}, 421),
        ({"Origin": "http://evil.example.com"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_the_guard_stands_before_it(admin: Admin, path: str, headers: dict[str, str], status: int) -> None:
    _, client = await admin()
    answer = await client.get(path, params={"token": TOKEN}, headers=headers)
    assert answer.status_code == status
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_its_own_page_may_ask(admin: Admin) -> None:
    running, client = await admin()
    headers = {"Origin": running.admin_url.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert (await client.get("/api/status", params={"token": TOKEN}, headers=headers)).status_code == 200


async def test_an_absolute_target_gets_nobody_past_the_host_check(admin: Admin) -> None:
    running, _ = await admin()
    port = int(running.admin_url.rstrip("/").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET http://evil.example.com/healthz HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 421 ")
    writer.close()


async def test_a_defect_shows_no_traceback(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Page, facts: object) -> Answer:
        raise RuntimeError("c4n4ry")

    monkeypatch.setattr("proxy.admin.health.Healthz.answer", broken)
    _, client = await admin()
    answer = await client.get("/healthz")
    assert answer.status_code == 502
    assert "c4n4ry" not in answer.text
    assert "Traceback" not in answer.text


async def test_requests_for_pages_are_neither_logged_nor_counted(admin: Admin) -> None:
    running, client = await admin()
    await client.get("/", params={"token": TOKEN})
    assert running.lines == ""
    assert "countersign_requests_total{" not in (await client.get("/metrics")).text
