"""A worker that does as it is told, in this process: the other end of its channel is the test."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy import environment, places
from proxy.admin import Common, Problem
from proxy.config import Settings, load
from proxy.environment import Environment
from proxy.listeners import Listener, kind
from proxy.listeners.tcp import Tcp
from proxy.log import Log
from proxy.places import PROXY, Place
from proxy.report import Report
from proxy.workers import (
    Accept,
    Answer,
    Ask,
    Drain,
    End,
    Failed,
    GiveUp,
    Leaving,
    Open,
    Outcome,
    Ready,
    Stage,
    Staged,
    TakenOver,
    TakeOver,
    Tell,
    Told,
)  # fmt: skip
from proxy.workers.channel import pair
from proxy.workers.worker import Assignment, Worker
from tests.doubles import raw_server, read_head

ADMIN_TOKEN = "generated"


def settings(
    upstream: str = "http://127.0.0.1:1", routes: dict[str, Any] | None = None, file: Path | None = None, **server: Any
) -> Settings:
    return load(
        file,
        overrides={
            "server": {"listen": ["127.0.0.1:0"], "admin": "127.0.0.1:0", "workers": 2, **server},
            "tokens": {"store": "memory"},
            "routes": {"api": {"upstream": upstream, "retry": {"attempts": 1}, **(routes or {})}},
        },
        use_file=file is not None,
    )


class Supervised:
    """A worker, and what its supervisor has of it."""

    def __init__(self, first: Settings, *, is_first: bool = False) -> None:
        self.near, self._far = pair()
        self.lines = io.StringIO()
        self.listeners: dict[Place, Listener] = places.bind(first, pytest.fail, shares=2)
        common = Common(0.0, ADMIN_TOKEN)
        assignment = Assignment(0, first, self.listeners, common, self._far, is_first)
        self._worker = Worker(assignment, Log(self.lines, "json"))
        self.task = asyncio.create_task(self._worker.run())
        self._heard: list[object] = []

    @property
    def url(self) -> str:
        return places.shown(self.listeners)[0]

    async def hears(self) -> object:
        async with asyncio.timeout(10):
            while not self._heard:
                await asyncio.sleep(0.002)
                self._heard += [message for message, _ in self.near.receive()]
        return self._heard.pop(0)

    async def begins(self) -> None:
        assert await self.hears() == Ready()
        self.near.send(Accept(frozenset({0, 1})))

    async def ask(self, path: str = "/x") -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(self.url + path)

    async def page(self, path: str) -> httpx.Response:
        url = places.status_url(self.listeners, settings(), ADMIN_TOKEN)
        assert url
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(url.replace("/?", f"{path}?"))

    async def ends(self) -> None:
        async with asyncio.timeout(10):
            await self.task

    async def aclose(self) -> None:
        self.near.close()
        await self.ends()
        for listener in self.listeners.values():
            listener.close()
        self._far.close()


@pytest.fixture
async def worker() -> AsyncIterator[Supervised]:
    made = Supervised(settings())
    yield made
    await made.aclose()


async def test_it_accepts_clients_when_it_is_told_to(worker: Supervised) -> None:
    assert await worker.hears() == Ready()
    asking = asyncio.create_task(worker.ask())
    await asyncio.sleep(0.05)
    assert not asking.done()
    worker.near.send(Accept(frozenset({0, 1})))
    assert (await asking).status_code == 502
    worker.near.send(End())
    await worker.ends()


async def test_why_it_can_t_start_is_told() -> None:
    made = Supervised(settings(admin_token={"env": "NOT_THERE"}))
    failed = await made.hears()
    assert isinstance(failed, Failed)
    assert failed.usage
    assert "server.admin_token" in failed.text
    await made.ends()
    await made.aclose()


async def test_the_first_one_tells_of_secrets_that_are_missing() -> None:
    credential = {"type": "bearer", "token": {"env": "NOT_THERE"}}
    made = Supervised(settings(routes={"credential": credential}), is_first=True)
    await made.begins()
    async with asyncio.timeout(10):
        while "NOT_THERE is not set" not in made.lines.getvalue():
            await asyncio.sleep(0.002)
    made.near.send(End())
    await made.ends()
    await made.aclose()


async def test_it_tells_of_itself(worker: Supervised) -> None:
    await worker.begins()
    await worker.ask()
    worker.near.send(Tell("reports", 4))
    told = await worker.hears()
    assert isinstance(told, Answer)
    assert told.number == 4
    assert isinstance(told.value, Report)
    assert told.value.processes == 1
    worker.near.send(Tell("problems", 5))
    assert await worker.hears() == Answer(5, {})


async def test_its_pages_speak_for_all(worker: Supervised) -> None:
    await worker.begins()
    page = asyncio.create_task(worker.page("/api/status"))
    asked = await worker.hears()
    assert isinstance(asked, Ask)
    assert asked.what == "reports"
    worker.near.send(Told(asked.number, (Report(processes=1, connections=3), Report(processes=1, connections=4))))
    found = (await page).json()
    assert (found["workers"], found["connections"], found["reload"]) == (2, 7, None)
    page = asyncio.create_task(worker.page("/readyz"))
    asked = await worker.hears()
    assert isinstance(asked, Ask)
    assert asked.what == "problems"
    worker.near.send(Told(asked.number, ({}, None, {"api": Problem("gone and more", "gone")})))
    worker.near.send(Told(asked.number, ()))  # told twice: the first one counts
    asked = await worker.hears()
    assert isinstance(asked, Ask)
    worker.near.send(Told(asked.number, (Report(processes=1), Report(processes=1))))
    seen = await page
    assert seen.status_code == 503
    assert seen.json() == {
        "ready": False,
        "routes": {"api": {"credential": "none", "problem": "gone and more"}},
        "workers": "1 of 3 don't answer",
    }


async def test_a_reload_is_staged_and_then_taken_over(worker: Supervised) -> None:
    async def ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    await worker.begins()
    async with raw_server(ok) as port:
        other: Place = (PROXY, "localhost:0")
        bound = kind(other[1]).bind(other[1], 2)
        Path(".env").write_text("NAME=x\n")
        file = Path("c.toml")
        file.touch()
        changed = settings(
            f"http://127.0.0.1:{port}", file=file, listen=["127.0.0.1:0", "localhost:0"], admin_token={"env": "NAME"}
        )
        Environment().adopt()  # it was read by another process
        worker.near.send(Stage(1, changed))
        assert await worker.hears() == Staged(1, "")
        assert (environment.get("NAME"), environment.current().withheld) == (None, frozenset())
        assert (await worker.ask()).status_code == 502
        worker.near.send(Open(other), bound.sockets)
        worker.near.send(TakeOver(1))
        assert await worker.hears() == TakenOver(1)
        assert (environment.get("NAME"), environment.current().withheld) == ("x", frozenset({"NAME"}))
        worker.near.send(Outcome("done"))
        assert (await worker.ask()).status_code == 200
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(bound.shown)).status_code == 200
        bound.close()


async def test_what_can_t_be_staged_is_told_and_given_up(worker: Supervised) -> None:
    await worker.begins()
    for number, broken in enumerate((settings(admin_token={"env": "NOT_THERE"}), settings()), 1):
        other: Place = (PROXY, "localhost:0")
        bound = kind(other[1]).bind(other[1], 2)
        worker.near.send(Open(other), bound.sockets)
        worker.near.send(Stage(number, broken))
        staged = await worker.hears()
        assert isinstance(staged, Staged)
        assert ("admin_token" in staged.failure) == (number == 1)
        worker.near.send(GiveUp())
        worker.near.send(Accept(frozenset({0, 1})))
        assert (await worker.ask()).status_code == 502
        bound.close()
        async with httpx.AsyncClient(trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(bound.shown)


async def test_an_exception_that_nobody_expected_is_an_answer_too(
    worker: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.begins()

    async def broken(*_: object) -> None:
        raise RuntimeError("c4n4ry")

    monkeypatch.setattr(worker._worker._app, "stage", broken)
    worker.near.send(Stage(1, settings()))
    assert await worker.hears() == Staged(1, "failed with RuntimeError")
    monkeypatch.setattr(worker._worker._app, "accept", broken)
    worker.near.send(Accept(frozenset({1})))
    assert await worker.hears() == Leaving()
    await worker.ends()
    assert worker.lines.getvalue().count("unexpected exception") == 2
    assert "a worker leaves: failed with RuntimeError" in worker.lines.getvalue()
    assert "c4n4ry" not in worker.lines.getvalue()


async def test_what_can_t_be_taken_over_is_closed_and_another_worker_has_to(
    worker: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    await worker.begins()
    other: Place = (PROXY, "localhost:0")
    bound = kind(other[1]).bind(other[1], 2)
    worker.near.send(Stage(1, settings("http://127.0.0.1:2", listen=["127.0.0.1:0", "localhost:0"])))
    assert await worker.hears() == Staged(1, "")
    change = worker._worker._change
    assert change is not None
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    monkeypatch.setattr(Tcp, "prepare", refuse)
    monkeypatch.setattr(change.generation, "aclose", close)
    worker.near.send(Open(other), bound.sockets)
    worker.near.send(TakeOver(1))
    assert await worker.hears() == Leaving()
    await worker.ends()
    assert closed.is_set()
    assert worker._worker._app.routes[0].settings.upstream.port == 1
    assert "a worker leaves: Too many open files" in worker.lines.getvalue()
    bound.close()


async def test_one_that_has_no_descriptors_for_new_addresses_leaves(worker: Supervised) -> None:
    await worker.begins()
    worker.near.send(Open((PROXY, "localhost:0")))  # as it arrives then
    assert await worker.hears() == Leaving()
    await worker.ends()
    assert "a worker leaves: Too many open files" in worker.lines.getvalue()


async def test_it_drains_when_it_is_told_to(worker: Supervised) -> None:
    await worker.begins()
    worker.near.send(Drain())
    await worker.ends()


async def test_a_signal_to_it_alone_makes_it_leave(worker: Supervised) -> None:
    await worker.begins()
    await asyncio.sleep(0)
    for number in (signal.SIGINT, signal.SIGHUP):  # for the supervisor
        os.kill(os.getpid(), number)
    await asyncio.sleep(0.02)
    assert not worker.task.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await worker.hears() == Leaving()
    await worker.ends()


async def test_it_ends_with_its_supervisor(worker: Supervised) -> None:
    await worker.begins()
    assert (await worker.ask()).status_code == 502
    worker.near.close()
    await worker.ends()
    assert "the supervisor has gone" in worker.lines.getvalue()


async def test_large_answers_leave_when_there_is_room(worker: Supervised) -> None:
    await worker.begins()
    await worker.ask()
    numbers = range(300)
    for number in numbers:
        worker.near.send(Tell("reports", number))
    async with asyncio.timeout(10):
        while worker.near.has_backlog:
            worker.near.flush()
            await asyncio.sleep(0.002)
    await asyncio.sleep(0.1)
    found = {answer.number for answer in [await worker.hears() for _ in numbers] if isinstance(answer, Answer)}
    assert found == set(numbers)
