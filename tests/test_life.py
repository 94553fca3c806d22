"""The signals that a process heeds."""

from __future__ import annotations

import asyncio
import io
import os
import signal

import httpx
import pytest

from proxy.app import App
from proxy.config import load
from proxy.life import handled, serve_until_signal, warn_early
from proxy.log import Log
from tests.doubles import raw_server, read_head
from tests.test_app import Reloading, get, settings


async def test_a_signal_drains_and_a_second_one_ends_at_once() -> None:
    asked = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await asyncio.Event().wait()

    async with raw_server(never) as port:
        app = App(settings(f"http://127.0.0.1:{port}", shutdown_grace="1h"), Log(io.StringIO()))
        await app.start()
        serving = asyncio.create_task(serve_until_signal(app))
        request = asyncio.create_task(get(app.addresses[0]))
        await asked.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert not serving.done()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await serving
        with pytest.raises(httpx.HTTPError):
            await request


async def test_sighup_reloads() -> None:
    case = Reloading(settings())
    await case.app.start()
    serving = asyncio.create_task(serve_until_signal(case.app))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(5):
        while "reloaded" not in case.lines.getvalue():
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(5):
        await serving


async def test_a_reload_that_fails_in_its_last_line_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Reloading(settings())
    await case.app.start()

    async def broken() -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(case.app, "reload", broken)
        serving = asyncio.create_task(serve_until_signal(case.app))
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            while "unexpected exception" not in case.lines.getvalue():
                await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(5):
        while "reloaded" not in case.lines.getvalue():
            await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await serving


async def test_signals_are_ignored_once_they_are_not_handled_any_more() -> None:
    heard = asyncio.Event()
    with handled({signal.SIGTERM: heard.set, signal.SIGHUP: heard.set}):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await heard.wait()
    assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


async def test_secrets_that_are_missing_are_told_at_start() -> None:
    credential = {"type": "bearer", "token": {"env": "NO_SUCH_VARIABLE"}}
    routes = {"a.b": {"upstream": "https://x", "credential": credential}}
    lines = io.StringIO()
    await warn_early(load(overrides={"routes": routes}, use_file=False), Log(lines, "human"))
    assert 'warning: routes."a.b".credential.token: the environment variable NO_SUCH_VARIABLE is not set\n' in (
        lines.getvalue()
    )
