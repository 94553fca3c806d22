"""Asking a running proxy whether it is well."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cli.health import ask
from tests.conftest import Start
from tests.doubles import raw_server

from .conftest import ROOT, Run

BASE = '[routes.a]\nupstream = "http://localhost:1"\n'
Config = Callable[[str], str]


@pytest.fixture(params=["127.0.0.1:0", "0.0.0.0:0", "unix:"])
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/admin" if request.param == "unix:" else str(request.param)


async def test_a_proxy_that_is_well(start: Start, run: Run, config: Config, admin: str) -> None:
    token = {"admin_token": "x"}
    running = await start({"server": {"admin": admin, **token}, "routes": {"a": {"upstream": "http://localhost:1"}}})
    if admin.endswith(":0"):
        admin = admin.replace(":0", f":{running.admin_url.rstrip('/').rpartition(':')[2]}")
    found = await asyncio.to_thread(run, "health", "--admin", admin)
    assert (found.code, found.out) == (0, "ok\n")
    path = config(f'{BASE}[server]\nadmin = "{admin}"\nadmin_token = "x"')
    assert (await asyncio.to_thread(run, "health", "--config", path)).code == 0
    found = await asyncio.to_thread(run, "health", "--ready", "--config", path)
    assert (found.code, '"ready": true' in found.out) == (0, True)


async def test_a_proxy_that_is_not_ready(start: Start, run: Run) -> None:
    credential = {"type": "bearer", "token": {"env": "NO_SUCH_VARIABLE"}}
    running = await start({
        "server": {"admin": "127.0.0.1:0"},
        "routes": {"a": {"upstream": "http://localhost:1", "credential": credential}},
    })  # fmt: skip
    address = running.admin_url.removeprefix("http://").rstrip("/")
    assert (await asyncio.to_thread(run, "health", "--admin", address)).code == 0
    found = await asyncio.to_thread(run, "health", "--ready", "--admin", address)
    assert found.code == 1
    assert "NO_SUCH_VARIABLE" in found.out


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "unix:/nowhere/x", "0.0.0.0:1", "[::]:1"])
def test_nobody_is_there(run: Run, address: str) -> None:
    found = run("health", "--admin", address)
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith(f"error: no answer from {address}: ")


async def test_somebody_else_is_there(run: Run) -> None:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")

    async with raw_server(play) as port:
        found = await asyncio.to_thread(run, "health", "--admin", f"127.0.0.1:{port}")
    assert found.code == 1
    assert "no answer from" in found.err


@pytest.mark.parametrize("address", ["x", "127.0.0.1", ":80", "h:x", "h:99999", "unix:x"])
def test_what_is_no_address(run: Run, address: str) -> None:
    found = run("health", "--admin", address)
    assert found.code == 2
    assert found.err == 'error: the address of the admin listener is malformed; expected one such as "127.0.0.1:8081"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [('admin = ""', "nobody to ask"), ("admin = 3", "not an address"), ('admin = "x"', "is malformed; expected"),
     ("= =", "is not TOML")],
)  # fmt: skip
def test_a_configuration_that_names_nobody(run: Run, config: Config, text: str, said: str) -> None:
    found = run("health", "--config", config(f"[server]\n{text}"))
    assert found.code == 2
    assert said in found.err
    assert run("health", "--config", config("server = 3")).code == 2


def test_without_any_configuration_the_default_is_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(address: str, path: str) -> tuple[int, str]:
        asked.append((address, path))
        return 200, "ok\n"

    monkeypatch.setattr("proxy.cli.health.ask", note)
    monkeypatch.setattr("proxy.layers.find", lambda: None)
    assert run("health").code == 0
    monkeypatch.setenv("COUNTERSIGN_SERVER__ADMIN", "127.0.0.1:9")
    assert run("health", "--ready").code == 0
    assert asked == [("127.0.0.1:8081", "/healthz"), ("127.0.0.1:9", "/readyz")]


def test_a_mistake_elsewhere_in_the_file_makes_nobody_ill(run: Run, config: Config) -> None:
    found = run("health", "--config", config('[server]\nlisen = 3\nadmin = "127.0.0.1:1"'))
    assert found.code == 1
    assert "no answer from 127.0.0.1:1" in found.err


def test_it_is_quick_since_it_loads_nothing_heavy(config: Config) -> None:
    code = (
        f"import sys\nfrom proxy.cli import cli\ntry: cli(['health', '--config', {config('[server]')!r}])\n"
        "except SystemExit: pass\n"
        "print(sorted({'pydantic', 'httpx', 'aiohttp', 'cryptography', 'uvloop'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


async def test_an_answer_is_read_whole(start: Start) -> None:
    running = await start({"server": {"admin": "127.0.0.1:0"}, "routes": {"a": {"upstream": "http://localhost:1"}}})
    address = running.admin_url.removeprefix("http://").rstrip("/")
    status, body = await asyncio.to_thread(ask, address, "/metrics")
    assert status == 200
    assert body.endswith("\n")
