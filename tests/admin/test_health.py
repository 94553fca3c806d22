"""Alive and ready."""

from __future__ import annotations

import asyncio

import pytest

from proxy import admin as pages
from proxy.admin import problem
from proxy.credentials import Scheme

from .conftest import Admin


async def test_alive(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_ready_when_every_credential_can_be_had(admin: Admin) -> None:
    _, client = await admin()
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "routes": {}})


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
    assert answer.json() == {
        "ready": False,
        "routes": {
            "broken": {
                "credential": "missing",
                "problem": "the environment variable NO_SUCH_VARIABLE is not set",
            },
            "inline": {
                "credential": "bearer (inline)",
                "problem": "the file /nowhere can't be read: No such file or directory",
            },
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
    assert "c4n4ry" not in answer.text


class Route:
    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme


async def test_a_stranger_s_failure_is_told_by_its_kind_alone() -> None:
    class Broken(Scheme):
        async def ready(self) -> None:
            raise RuntimeError("c4n4ry")

    assert await problem(Route(Broken())) == "failed with RuntimeError"  # type: ignore[arg-type]  # all it needs


async def test_a_credential_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Scheme):
        async def ready(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(pages, "PATIENCE", 0.01)
    assert await problem(Route(Hanging())) == "not within 0 s"  # type: ignore[arg-type]  # all it needs
