from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.secrets import _kept
from tests.credentials.doubles import Bench, applied, build, content, request, values
from tests.doubles import Script, answer


@pytest.mark.parametrize("token", ["abc.DEF-_~+/=", "with space", "tökén€"])
@pytest.mark.parametrize("others", [b"plain", b"\xc3\xa4", b"\xfc"])
async def test_it_is_utf8_whatever_the_other_fields_hold(token: str, others: bytes) -> None:
    to = request(fields=[(b"X-Other", others), (b"authorization", b"Bearer theirs")])
    to.headers = httpx.Headers(to.headers)  # as httpx copies them: with an encoding found out
    sent = await applied(build({"type": "bearer", "token": token}), to)
    assert values(sent, "Authorization") == [f"Bearer {token}".encode()]
    assert values(sent, "X-Other") == [others]


async def test_explaining_it_leaves_the_scheme() -> None:
    to = request()
    await build({"type": "bearer", "token": "canary with words"}).explain(to)
    assert values(to, "Authorization") == [b"Bearer ***"]


class Origin:
    """A file with a token, and a command that prints it and notes that it ran."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "token"
        self._runs = folder / "runs"
        self.write("canary-1")

    def write(self, token: str) -> None:
        self.file.write_text(token)
        os.utime(self.file, (1, 1))  # as coarse as a clock can be

    def table(self, kind: str, **unauthorized: Any) -> dict[str, Any]:
        script = f"echo x >> {self._runs}; cat {self.file}"
        token = {"file": str(self.file)} if kind == "file" else {"command": ["sh", "-c", script]}
        return {"type": "bearer", "token": token, "unauthorized": unauthorized}

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().split())


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


@pytest.mark.parametrize("kind", ["file", "command"])
async def test_one_that_changed_is_read_anew_when_it_is_refused(origin: Origin, kind: str) -> None:
    bench = Bench(build(origin.table(kind)), 200, 401, 200, 200)
    await bench()
    origin.write("canary-2")
    assert (await bench()).status_code == 200
    assert bench.story.notes == ("renewed token",)
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"Bearer canary-1"] * 2 + [b"Bearer canary-2"] * 2


@pytest.mark.parametrize("kind", ["file", "command"])
async def test_one_that_is_still_the_same_is_not_tried_again(origin: Origin, kind: str) -> None:
    bench = Bench(build(origin.table(kind)), answer(401, [], b"no"))
    response = await bench()
    assert (response.status_code, await content(response), bench.story.notes) == (401, b"no", ())
    assert len(bench.api.requests) == 1


class Losing(Script):
    """An API that refuses, and meanwhile the token goes away."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._file.unlink()
        return answer(401)


async def test_one_that_can_not_be_read_anew_leaves_the_401(origin: Origin) -> None:
    bench = Bench(build(origin.table("file")))
    bench.exchange.upstream._transport = Losing(origin.file)
    assert (await bench()).status_code == 401
    assert bench.story.failure == f"renewal failed: the file {origin.file} can't be read: No such file or directory"


class Refusing(Script):
    """An API that takes the second token only."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        await asyncio.sleep(0)
        return answer(200 if request.headers["authorization"] == "Bearer canary-2" else 401)


async def test_a_hundred_refused_at_once_cost_one_run(origin: Origin) -> None:
    bench = Bench(build(origin.table("command")))
    await bench()
    origin.write("canary-2")
    bench.api = bench.exchange.upstream._transport = Refusing()
    responses = await asyncio.gather(*(bench() for _ in range(100)))
    assert ({response.status_code for response in responses}, origin.runs) == ({200}, 2)


async def test_a_command_that_prints_the_same_is_not_run_for_each_refusal(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(_kept, "time", type("T", (), {"monotonic": staticmethod(lambda: now)}))
    bench = Bench(build(origin.table("command")), *[401] * 200)
    for _ in range(100):
        await bench()
        now += 1
    assert origin.runs == 1 + 7, "after 1, 2, 4 … 60 s"


@pytest.mark.parametrize("token", ["canary-1", {"env": "TOKEN"}])
async def test_one_that_never_changes_is_never_tried_again(token: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "canary-1")
    bench = Bench(build({"type": "bearer", "token": token}), 401)
    await bench()
    monkeypatch.setenv("TOKEN", "canary-2")
    assert (await bench()).status_code == 200
    assert len(bench.api.requests) == 2


async def test_unauthorized_says_when(origin: Origin) -> None:
    table = origin.table("command", status=[403], body="expired")
    bench = Bench(build(table), 200, 401, answer(403, [], b"expired"), 200)
    await bench()
    origin.write("canary-2")
    assert [(await bench()).status_code, (await bench()).status_code] == [401, 200]
