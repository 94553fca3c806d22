"""What all tests share: proxies of the test's own, on free ports, with nothing of the machine's in them."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from proxy import dumps, environment, hints
from proxy.app import App
from proxy.clock import Clock
from proxy.config import load
from proxy.log import Log

pytest_plugins = ["tests.canary"]

# How long an example takes says something of the machine only.
hypothesis.settings.register_profile("countersign", deadline=None)
hypothesis.settings.load_profile("countersign")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration, token or variable of the machine reaches a test."""
    environment.Environment().adopt()  # not what an earlier test's .env said
    hints.use(None)
    # It holds for the whole process, and nothing undoes it: commands that a test runs in its own process do not do it.
    monkeypatch.setattr(dumps, "forbid", lambda **_: None)
    for name in list(os.environ):
        if name.startswith("COUNTERSIGN_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """What serves leaves signals ignored when it ends, which is when its process does; a test's goes on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Running:
    """A proxy that serves in this event loop.

    Attributes:
        url: where.
        lines: what its log has said so far.

    """

    def __init__(self, app: App, lines: io.StringIO) -> None:
        self.app = app
        self._lines = lines

    @property
    def url(self) -> str:
        return self.app.addresses[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def admin_url(self) -> str:
        assert self.app.status_url
        return self.app.status_url.partition("/?")[0]

    @property
    def lines(self) -> str:
        return self._lines.getvalue()


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start proxies: ``await start({"routes": …})``; they end with the test."""
    async with AsyncExitStack() as stack:

        async def started(table: dict[str, Any], clock: Clock | None = None, **options: Any) -> Running:
            server = {"listen": ["127.0.0.1:0"], "admin": "", **table.get("server", {})}
            tokens = {"store": "memory", **table.get("tokens", {})}
            settings = load(overrides={**table, "server": server, "tokens": tokens}, use_file=False)
            lines = io.StringIO()
            app = App(settings, Log(lines, "json"), clock=clock, **options)
            await app.start()
            stack.push_async_callback(app.aclose)
            return Running(app, lines)

        yield started
