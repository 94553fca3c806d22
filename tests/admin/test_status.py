"""The status page, and the same as JSON."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from proxy.admin.status import date

from .conftest import TOKEN, Admin, call

HOSTILE = '"><script>alert(1)</script>'


async def test_what_listens_routes_credentials_and_counters(admin: Admin) -> None:
    running, client = await admin(
        routes={"hosted": {"host": "x.localhost", "prefix": "/p", "upstream": "https://api.example.com/v1"}}
    )
    await call(running, "/oauth2/hello")
    found = (await client.get("/api/status", params={"token": TOKEN})).json()
    assert found["listens"] == [running.url]
    assert found["uptime_seconds"] >= 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["started"])
    routes = {route["name"]: route for route in found["routes"]}
    assert routes["hosted"] == {
        "name": "hosted",
        "matches": "x.localhost /p/",
        "upstream": "https://api.example.com/v1",
        "credential": "none",
        "token_expires": None,
        "throttled_seconds": 0.0,
    }
    assert routes["oauth2"]["credential"] == "oauth2"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", routes["oauth2"]["token_expires"])
    (token,) = found["tokens"]
    assert (token["credential"], token["expires"]) == ("oauth2", routes["oauth2"]["token_expires"])
    assert 0 <= token["expires_seconds"] <= 10
    assert (token["resting_until"], token["problem"], token["unsaved"], found["store"]) == (None, None, None, None)
    assert found["requests"] == [{"route": "oauth2", "method": "GET", "status": "200", "count": 1}]


async def test_the_page_says_the_same(admin: Admin) -> None:
    running, client = await admin()
    answer = await client.get("/", params={"token": TOKEN})
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "None yet." in answer.text
    await call(running, "/bearer/hello")
    page = (await client.get("/", params={"token": TOKEN})).text
    for text in (running.url, "<td>bearer</td>", '<td class="number">1</td>', "<td>/throttled/</td>"):
        assert text in page


async def test_the_page_s_style_is_all_that_a_browser_may_use(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/", params={"token": TOKEN})
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "<script" not in answer.text


async def test_hostile_names_do_no_harm(admin: Admin) -> None:
    running, client = await admin(
        routes={HOSTILE: {"prefix": "/x", "upstream": "http://localhost:1", "credential": HOSTILE,
                          "retry": {"attempts": 1}}},
        credentials={HOSTILE: {"type": "none"}},
    )  # fmt: skip
    await call(running, "/x")
    page = (await client.get("/", params={"token": TOKEN})).text
    assert "<script" not in page
    assert page.count("&quot;&gt;&lt;script&gt;") == 3
    found = (await client.get("/api/status", params={"token": TOKEN})).json()
    assert HOSTILE in {route["name"] for route in found["routes"]}
    assert (await client.get("/metrics")).status_code == 200


async def test_a_reload_that_failed_is_told(admin: Admin) -> None:
    running, client = await admin()
    running.app._facts.reloaded = "failed: <x>"
    assert "failed: &lt;x&gt;" in (await client.get("/", params={"token": TOKEN})).text
    assert (await client.get("/api/status", params={"token": TOKEN})).json()["reload"] == "failed: <x>"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "1970-01-01T00:00:00Z"), (1_800_000_000.9, "2027-01-15T08:00:00Z"), (1e300, "9999-12-31T23:59:59Z"),
     (float("inf"), "9999-12-31T23:59:59Z"), (-1e300, "1970-01-01T00:00:00Z")],
)  # fmt: skip
def test_absurd_dates_are_dates(seconds: float, shown: str) -> None:
    assert date(seconds) == shown
