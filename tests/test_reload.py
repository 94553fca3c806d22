"""What a reload has changed, what it can't change, and the work that it does beside the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.admin import Admin
from proxy.config import Settings, read
from proxy.credentials.netrc import Netrc
from proxy.environment import Environment
from proxy.errors import ConfigError
from proxy.generation import Generation
from proxy.log import Log
from proxy.reload import Change, beside, done, explained, failed
from proxy.stores import Setup
from proxy.stores.memory import MemoryStore
from tests.keyrings import OwnKeyring, own_keyring

__all__ = ["own_keyring"]

# -- beside the loop -----------------------------------------------------------------------------------------


async def test_work_beside_the_loop_returns_raises_and_sees_the_callers_context() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    name.set("value")
    assert await beside(lambda: (name.get(), threading.current_thread() is threading.main_thread())) == ("value", False)
    with pytest.raises(ConfigError, match="wrong"):
        await beside(cast("Callable[[], None]", lambda: (_ for _ in ()).throw(ConfigError("wrong"))))


async def test_work_whose_caller_goes_away_ends_by_itself() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        go_on.wait(10)
        return "opened"

    late: asyncio.Queue[str] = asyncio.Queue()
    waiting = asyncio.create_task(beside(work, late.put_nowait))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.wait([waiting])
    go_on.set()
    async with asyncio.timeout(10):
        assert await late.get() == "opened"


# -- why it failed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "text", "is_defect"),
    [
        (ConfigError("a.toml: is wrong"), "a.toml: is wrong", False),
        (OSError(24, "Too many open files"), "Too many open files", False),
        (TimeoutError(), "took longer than 60 s", False),
        (OSError("c4n4ry"), "failed with OSError", True),
        (RuntimeError("c4n4ry"), "failed with RuntimeError", True),
    ],
)
def test_why_a_reload_failed(failure: Exception, text: str, is_defect: bool) -> None:
    lines = io.StringIO()
    log = Log(lines, "human")
    assert explained(failure, log) == text
    assert ("unexpected exception" in lines.getvalue()) == is_defect
    assert failed(log, text) == f"failed: {text}"
    assert f"error: reload failed, the old configuration goes on: {text}\n" in lines.getvalue()
    assert "c4n4ry" not in lines.getvalue()


# -- what has changed ----------------------------------------------------------------------------------------


def settings(routes: dict[str, Any], dotenv: dict[str, str] | None = None, **sections: Any) -> Settings:
    table = {"tokens": {"store": "memory"}, "routes": routes, **sections}
    if dotenv is not None:
        text = "".join(f"{name}={value}\n" for name, value in dotenv.items())
        Path(".env").write_text(text)
    file = Path("countersign.toml")  # which ``.env`` stands beside
    file.touch()
    return read(file, table)


def told(old: Settings, new: Settings, running: Settings | None = None) -> tuple[str, dict[str, Any]]:
    lines = io.StringIO()
    outcome = done(Log(lines, "json"), running or old, old, new)
    event = json.loads(lines.getvalue())
    assert event.pop("event") == "reloaded"
    assert event.pop("routes") == len(new.routes)
    del event["time"]
    return outcome, event


A, B = {"prefix": "/a", "upstream": "https://a.test"}, {"prefix": "/b", "upstream": "https://b.test"}
KEY = {"type": "bearer", "token": {"env": "THE_KEY"}}


def test_nothing_has_changed() -> None:
    both = [settings({"a": {**A, "credential": KEY}}, {"THE_KEY": "x"}) for _ in range(2)]
    assert told(*both) == ("done", {"level": "info"})


def test_routes_that_are_new_gone_or_changed_are_named() -> None:
    old = settings({"a": A, "b": B, "c": {"prefix": "/c", "upstream": "https://c.test"}})
    new = settings({"a": {**A, "insecure": True}, "c": {"prefix": "/c", "upstream": "https://c.test"}, "d": B})
    outcome, event = told(old, new)
    assert event == {"level": "info", "routes_added": "d", "routes_removed": "b", "routes_changed": "a"}
    assert outcome == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"credentials": {"key": {"type": "bearer", "token": "two"}}},
        {"credentials": {"key": {"type": "fallback", "credentials": ["other", "none"]}, "other": KEY}},
        {"timeout": {"read": "3s"}},
    ],
)
def test_a_route_has_changed_if_its_credential_or_what_holds_for_all_routes_has(change: dict[str, Any]) -> None:
    routes = {"a": {**A, "credential": "key"}, "b": {**B, "timeout": {"read": "3s"}}}
    kept: dict[str, Any] = {"credentials": {"key": {"type": "bearer", "token": "one"}}}
    assert told(settings(routes, **kept), settings(routes, **kept | change))[1]["routes_changed"] == "a"


def test_a_route_has_changed_if_a_member_of_its_credential_has() -> None:
    routes = {"a": {**A, "credential": {"type": "fallback", "credentials": ["key", "none"]}}}
    both = [settings(routes, credentials={"key": {"type": "bearer", "token": token}}) for token in ("one", "two")]
    assert told(*both)[1]["routes_changed"] == "a"


def test_a_route_has_changed_if_its_variable_in_the_dotenv_file_has() -> None:
    routes = {"a": {**A, "credential": KEY}, "b": B}
    outcome, event = told(settings(routes, {"THE_KEY": "c4n4ry-1"}), settings(routes, {"THE_KEY": "c4n4ry-2"}))
    assert event["routes_changed"] == "a"
    assert "c4n4ry" not in f"{outcome}{event}"


@pytest.mark.parametrize(
    "credential",
    [
        {"type": "bearer", "token": {"env": "THE_KEY"}},
        {"type": "bearer", "token": {"file": "secret"}},
        {"type": "bearer", "token": {"command": ["cat", "secret"]}},
        {"type": "bearer", "token": {"keyring": "service", "username": "user"}},
        {"type": "netrc", "file": "netrc"},
        {"type": "session", "login": {"url": "https://a.test", "json": {"password": {"file": "secret"}}}},
        {"type": "python", "class": "httpx:BasicAuth", "username": "me", "password": {"file": "secret"}},
    ],
    ids=lambda credential: next(iter(credential.get("token", {credential["type"]: ""}))),
)
async def test_a_route_has_not_changed_because_its_secret_has_been_read(
    credential: dict[str, Any], own_keyring: OwnKeyring
) -> None:
    own_keyring.set_password("service", "user", "c4n4ry")
    Path("secret").write_text("c4n4ry")
    Path("netrc").write_text("machine a.test login me password c4n4ry")
    routes = {"a": {**A, "credential": credential}}
    old = settings(routes, {"THE_KEY": "c4n4ry"})
    for _, source in old.secrets():
        await source.get()
    used = old.routes["a"].credential
    if isinstance(used, Netrc):
        await used.entries()
    assert "routes_changed" not in told(old, settings(routes, {"THE_KEY": "c4n4ry"}))[1]


def test_addresses_that_are_opened_or_closed_are_named() -> None:
    old = settings({"a": {**A, "listen": "127.0.0.1:9001"}}, server={"listen": ["127.0.0.1:9000"]})
    new = settings({"a": A}, server={"listen": ["127.0.0.1:9000", "unix:/run/x.sock"], "admin": ""})
    event = told(old, new)[1]
    assert event["addresses_opened"] == "unix:/run/x.sock"
    assert event["addresses_closed"] == "127.0.0.1:9001, 127.0.0.1:8081"


def test_what_needs_a_restart_is_named_as_long_as_it_does() -> None:
    first = settings({"a": A})
    new = settings({"a": A}, server={"workers": 3, "dumpable": True})
    assert told(first, new) == (
        "done; needs a restart: server.workers, server.dumpable",
        {"level": "warning", "needs_restart": "server.workers, server.dumpable"},
    )
    assert told(new, new, first)[0] == "done; needs a restart: server.workers, server.dumpable"
    assert told(new, first, first) == ("done", {"level": "info"})


def test_what_can_t_be_applied_is_read_nowhere_but_at_the_start() -> None:
    """Every other key of ``[server]`` is one that a reload applies: who adds one says here which it is."""
    applied = {
        "listen", "admin", "shutdown_grace", "allowed_hosts", "allowed_origins", "client_token", "admin_token",
        "trust_network", "connections", "header_size", "header_timeout", "body_timeout", "keepalive",
    }  # fmt: skip
    assert set(type(settings({"a": A}).server).model_fields) == applied | {"workers", "dumpable"}


# -- a change ------------------------------------------------------------------------------------------------


async def test_what_can_t_be_closed_keeps_nothing_else_open() -> None:
    closed = []

    class Part(MemoryStore):
        async def aclose(self) -> None:
            closed.append(self)
            raise RuntimeError

    one, two = Part.create(Setup(path=None)), Part.create(Setup(path=None))  # type: ignore[arg-type]  # not needed
    change = Change(cast("Generation", one), two, Setup(path=None), cast("Admin", None), "")  # type: ignore[arg-type]
    defects: list[Exception] = []
    await change.close(defects.append)
    assert (closed, len(defects)) == ([one, two], 2)
    await change.close(defects.append, kept=two)
    assert closed == [one, two, one]


def test_reading_adopts_nothing() -> None:
    adopted = Environment({"THE_KEY": "old"})
    adopted.adopt()
    found = settings({"a": {**A, "credential": KEY}}, {"THE_KEY": "new"}, server={"client_token": {"env": "LET_IN"}})
    with pytest.raises(ConfigError):
        settings({}, {"THE_KEY": "broken"})
    assert (adopted.dotenv, adopted.withheld) == ({"THE_KEY": "old"}, frozenset())
    assert (found.environment.dotenv, found.environment.withheld) == ({"THE_KEY": "new"}, frozenset({"LET_IN"}))
