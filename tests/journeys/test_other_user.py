"""Another user of the machine as the neighbour: what is ours can neither be read nor called."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.errors import StoreError
from proxy.stores import Setup, Token
from proxy.stores.file import FileStore
from tests.conftest import Start
from tests.journeys.conftest import BEARER
from tests.journeys.processes import Run
from tests.journeys.wires import Api

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = 65534
SECRET = "canary-of-the-store"


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may look into, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def says(script: str, *arguments: object, user: int | None = NOBODY) -> tuple[int, str]:
    """Exit code and output of a shell script that another user runs."""
    command = ("/bin/sh", "-c", script, "sh", *map(str, arguments))
    more = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=20, **more)  # type: ignore[call-overload]  # of them no combination is typed
    return done.returncode, done.stdout + done.stderr


async def asked(script: str, *arguments: object, user: int | None = NOBODY) -> tuple[int, str]:
    return await asyncio.to_thread(says, script, *arguments, user=user)


async def test_a_unix_socket_refuses_them(start: Start, api: Api, folder: Path) -> None:
    listen = [f"unix:{folder}/own.sock"]
    await start({"server": {"listen": listen}, "routes": {"api": {"upstream": api.url, "credential": BEARER}}})
    call = 'curl -sS --max-time 10 --unix-socket "$1" http://localhost/x'
    code, text = await asked(call, folder / "own.sock")
    assert code != 0
    assert "ok" not in text.split()
    assert api.heard == b""
    assert await asked(call, folder / "own.sock", user=None) == (0, "ok")


async def test_the_token_store_cant_be_read(folder: Path) -> None:
    path = folder / "tokens.json"
    path.write_text("damaged")
    path.chmod(0o600)
    mask = os.umask(0)
    store = FileStore(Setup(path))
    try:
        async with store.lock("a"):
            await store.save("a", Token(SECRET, None))
    finally:
        os.umask(mask)
        await store.aclose()
    files = sorted(folder.iterdir())
    assert {"tokens.json", "tokens.json.damaged-1"} < {file.name for file in files}
    for file in files:
        assert (await asked('cat "$1"', file))[0] != 0, file
        assert (await asked('echo x >> "$1"', file))[0] != 0, file
    assert SECRET in (await asked('cat "$1"', path, user=None))[1]


async def test_a_token_store_that_they_have_put_there_is_refused(folder: Path) -> None:
    folder.chmod(0o777)
    path = folder / "tokens.json"
    assert (await asked('umask 077; echo "{}" > "$1"', path))[0] == 0
    store = FileStore(Setup(path))
    with pytest.raises(StoreError, match="belongs to another user"):
        await store.load("a")
    path.unlink()
    mine = folder / "precious"
    mine.write_text("precious")
    for lock in ("tokens.json.lock", store._lock_path("a").name):
        assert (await asked('ln -s precious "$1"', folder / lock))[0] == 0
    with pytest.raises(StoreError):
        await store.save("a", Token(SECRET, None))
    with pytest.raises(StoreError):
        async with store.lock("a"):
            pass
    assert mine.read_text() == "precious"
    await store.aclose()


async def test_the_process_can_t_be_looked_into(run: Run, api: Api) -> None:
    process = await run(
        "run", "--to", api.url, "--bearer", "env:TOKEN", "--listen", "127.0.0.1:0", env={"TOKEN": SECRET}
    )
    await process.port()
    pid = process.process.pid
    for name in ("environ", "mem", "maps", "fd/0"):
        code, text = await asked('cat "/proc/$1/$2"', pid, name)
        assert code != 0
        assert SECRET not in text
    assert (await asked('kill -HUP "$1"', pid))[0] != 0
    assert (await process.ask()).status == 200


async def test_what_they_could_change_is_told(run: Run, api: Api, folder: Path) -> None:
    file = folder / "countersign.toml"
    file.write_text(
        f'[routes.api]\nupstream = "{api.url}"\n[tokens]\npath = "{folder}/state/tokens.json"\n'
        f'[server]\nlisten = ["127.0.0.1:0", "unix:{folder}/run/own.sock"]\n'
    )
    told = []
    for name in ("state", "run"):
        (folder / name).mkdir()
        (folder / name).chmod(0o777)
        told.append(f"files in {folder}/{name} can be exchanged by every user")
    check = await run("check", "--config", str(file))
    assert await check.ends() == 0
    serving = await run("run", "--config", str(file))
    await serving.port()
    for text in told:
        assert text in check.said
        assert text in serving.said


HOSTILE = f"""
COUNTERSIGN_ROUTES__DEFAULT__UPSTREAM=http://127.0.0.1:9
COUNTERSIGN_ROUTES__API__UPSTREAM=http://127.0.0.1:9
COUNTERSIGN_ROUTES__API__CREDENTIAL={{"type": "bearer", "token": {{"command": ["touch", "{{ran}}"]}}}}
TOKEN={SECRET}-of-another
"""


async def test_a_hostile_dotenv_of_the_working_directory_is_not_read(
    run: Run, api: Api, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / ".env").write_text(HOSTILE.replace("{ran}", str(folder / "ran")))
    (tmp_path / "countersign.toml").write_text("[hostile]\n")
    os.chown(tmp_path / ".env", NOBODY, NOBODY)
    process = await run(
        "run", "--to", api.url, "--bearer", "env:TOKEN", "--listen", "127.0.0.1:0", env={"TOKEN": SECRET}
    )
    assert (await process.ask()).status == 200
    assert f"Bearer {SECRET}\r\n".encode() in api.heard
    assert "configuration:" not in process.said
    file = folder / "own.toml"
    file.write_text(f'[routes.api]\nupstream = "{api.url}"\n')
    for words in (("check", "--live"), ("tokens", "list"), ("explain", "GET", "http://localhost/x")):
        command = await run(words[0], *words[1:], "--config", str(file))
        assert await command.ends() == 0, command.said
        assert str(tmp_path) not in command.said
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("command", ["run", "check", "explain", "tokens list", "health", "login"])
@pytest.mark.parametrize("named", [True, False])
async def test_a_configuration_of_another_user_is_refused(run: Run, tmp_path: Path, command: str, named: bool) -> None:
    file = tmp_path / "countersign.toml"
    file.write_text('[routes.api]\nupstream = "http://127.0.0.1:9"\n')
    os.chown(file, NOBODY, NOBODY)
    process = await run(*command.split(), *(["--config", str(file)] if named else []), *_needed(command))
    assert await process.ends() == 2
    assert f"belongs to another user ({NOBODY}), who could change it; expected " in process.said
    assert f"sudo chown 0 {file}" in process.said


def _needed(command: str) -> tuple[str, ...]:
    return {"explain": ("GET", "http://localhost/x"), "login": ("x",)}.get(command, ())


async def test_modules_come_neither_from_the_working_directory_nor_hide_others(
    run: Run, api: Api, tmp_path: Path, folder: Path
) -> None:
    for name in ("httpx", "own_auth", "yaml", "brotli", "netrc"):
        (tmp_path / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nraise SystemExit(3)\n")
    (folder / "own_auth.py").write_text(
        "import httpx\nclass Mine(httpx.Auth):\n    def auth_flow(self, request):\n"
        "        request.headers['X-Mine'] = 'yes'\n        yield request\n"
    )
    (folder / "json.py").write_text("raise SystemExit(3)\n")
    file = folder / "own.toml"
    file.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\n[routes.api]\nupstream = "{api.url}"\n'
        'credential = { type = "python", class = "own_auth:Mine" }\n'
    )
    process = await run(
        "run", "--config", str(file), program="import sys; sys.path.remove(''); from proxy.__main__ import main; main()"
    )
    assert (await process.ask()).status == 200
    assert b"X-Mine: yes" in api.heard
    assert not (folder / "ran").exists()


async def test_a_unix_socket_that_another_user_has_put_there_gets_no_credential(start: Start, folder: Path) -> None:
    folder.chmod(0o777)
    path = folder / "api.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        os.seteuid(NOBODY)
        try:
            theirs.bind(str(path))
            theirs.listen()
        finally:
            os.seteuid(0)
        theirs.setblocking(False)
        own = await start({"routes": {"api": {"upstream": f"unix:{path}", "credential": BEARER}}})
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(own.url + "/x")
        assert (answer.status_code, answer.json()["detail"]) == (
            502, f"user {NOBODY} listens on the unix socket; expected root or user 0, or insecure = true"
        )  # fmt: skip
        connection, _ = theirs.accept()
        with connection:
            assert connection.recv(1) == b""
