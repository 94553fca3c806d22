"""Alive and ready."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from proxy import admin as pages
from proxy.admin import problem
from proxy.credentials import Scheme

from .conftest import TOKEN, Admin, call


async def test_alive(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_ready_when_every_credential_can_be_had(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    found = answer.json()
    left = found["tokens"]["oauth2"]["expires_in"]
    assert found == {"ready": True, "routes": {}, "tokens": {"oauth2": {"expires_in": left}}}
    assert 1 <= left <= 10


async def test_who_stops_is_alive_but_not_ready(admin: Admin) -> None:
    proxy, client = await admin()
    proxy.app._facts.stopping = True
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "routes": {}, "stopping": True})
    assert (await client.get("/healthz")).status_code == 200


async def test_not_ready_says_which_credential_can_not_be_had(admin: Admin) -> None:
    _, client = await admin(
        routes={
            "broken": {"prefix": "/x", "upstream": "http://localhost:1", "credential": "missing"},
            "inline": {
                "prefix": "/y",
                "upstream": "http://localhost:1",
                "credential": {"type": "bearer", "token": {"file": "/nowhere"}},
            },
        },
        credentials={"missing": {"type": "bearer", "token": {"env": "NO_SUCH_VARIABLE"}}},
    )
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    found = answer.json()
    assert not found["ready"]
    assert found["routes"] == {
        "broken": {
            "credential": "missing",
            "problem": "the environment variable NO_SUCH_VARIABLE is not set",
        },
        "inline": {
            "credential": "bearer (inline)",
            "problem": "the file /nowhere can't be read: No such file or directory",
        },
    }


async def test_not_ready_while_a_token_can_not_be_fetched(admin: Admin) -> None:
    oauth2 = {"type": "oauth2", "grant": "client_credentials", "token_url": "http://127.0.0.1:1/token",
              "client_id": "x", "client_secret": "c4n4ry"}  # fmt: skip
    _, client = await admin(
        routes={"x": {"prefix": "/x", "upstream": "http://localhost:1", "credential": "down"}},
        credentials={"down": oauth2},
    )
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert list(answer.json()["routes"]) == ["x"]
    token = answer.json()["tokens"]["down"]
    problem = "the token endpoint: The upstream refuses connections"
    assert token == {"expires_in": None, "resting": token["resting"], "problem": problem}
    assert 0 < token["resting"] <= 1
    metrics = (await client.get("/metrics")).text
    assert re.search(
        r'^countersign_token_resting_until_seconds\{credential="down"\} 1\.\d+e\+09', metrics, re.MULTILINE
    )
    assert 'countersign_token_renewals_total{credential="down",outcome="unavailable"} 1.0' in metrics
    found = (await client.get("/api/status", params={"token": TOKEN})).json()
    (resting,) = (each for each in found["tokens"] if each["credential"] == "down")
    assert (resting["expires"], resting["problem"]) == (None, token["problem"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", resting["resting_until"])
    assert "c4n4ry" not in answer.text


@pytest.mark.parametrize(
    ("script", "public"),
    [
        ("exit 3", "the command sh failed with exit code 3"),
        ("printf '{\"a\": 1}'", "what the command sh printed"),
        ("sleep 60", "the command sh took longer than 0 s"),
    ],
)
async def test_what_a_program_said_is_shown_with_the_token_only(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, script: str, public: str
) -> None:
    monkeypatch.setattr("proxy.credentials.exec.TIMEOUT", 0.4)
    said = "no key in /home/somebody/.secret of somebody@corp.test, passphrase is hunter two"
    credential = {"type": "exec", "command": ["sh", "-c", f"echo '{said}' >&2; {script}"]}
    running, client = await admin(
        routes={"x": {"prefix": "/x", "upstream": "http://localhost:1", "credential": "program"}},
        credentials={"program": credential},
    )
    for _ in range(2):  # the first runs it, the second reports what failed
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = await client.get("/readyz", headers=headers)
            assert answer.status_code == 503
            for text in ("/home", "corp.test", "hunter"):
                assert text not in answer.text
            found = answer.json()
            for shown in (found["routes"]["x"], found["tokens"]["program"]):
                assert public in shown["problem"]
                assert shown["problem"].endswith("; the rest is in the log, and here with the admin token")
    for query in ({"params": {"token": TOKEN}}, {"headers": {"Authorization": f"Bearer {TOKEN}"}}):
        found = (await client.get("/readyz", **query)).json()  # type: ignore[arg-type]  # httpx's
        for shown in (found["routes"]["x"], found["tokens"]["program"]):
            assert shown["problem"].startswith(public)
            assert said in shown["problem"]
    assert said in running.lines
    assert "hunter" not in (await client.get("/metrics")).text


async def test_a_store_that_can_not_be_written_is_told(admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "locked").write_text("a file where a folder should be")
    running, client = await admin(tokens={"store": "file", "path": str(tmp_path / "locked" / "tokens.json")})
    assert (await call(running, "/oauth2/hello")).status_code == 200
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    assert "can't be" in answer.json()["tokens"]["oauth2"]["unsaved"]
    assert "can't be" in answer.json()["store"]


class Route:
    def __init__(self, scheme: Scheme) -> None:
        self.ready = scheme.ready


async def test_a_stranger_s_failure_is_told_by_its_kind_alone() -> None:
    class Broken(Scheme):
        async def ready(self) -> None:
            raise RuntimeError("c4n4ry")

    assert await problem(Route(Broken())) == ("failed with RuntimeError",) * 2  # type: ignore[arg-type]  # all it needs


async def test_a_credential_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Scheme):
        async def ready(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(pages, "PATIENCE", 0.01)
    assert await problem(Route(Hanging())) == ("not within 0 s",) * 2  # type: ignore[arg-type]  # all it needs
