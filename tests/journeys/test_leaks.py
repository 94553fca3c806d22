"""What the system tells others of a process that holds secrets: its memory, its programs, its files."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.journeys.processes import CANARY, ROOT, TOKEN, Held, Run, run_to
from tests.journeys.wires import Api

NOBODY = 65534
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

# Root may look into all: then it becomes nobody, who can't import what is root's. That nobody may look into a process
# that was root's is no merit of ours, and is undone.
BECOME = f"""
import ctypes, os, pkgutil, proxy
for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
    if not module.name.endswith(("__main__", ".stores.redis", ".stores._redis")):
        __import__(module.name)
import ctypes.util, encodings.idna, jwt, resource, uvloop
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
    os.chdir("/")
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
RUN = BECOME + "from proxy.cli import cli; cli()"
LOOK = (
    BECOME
    + """
import sys
import time
for pid in sys.argv[1:]:
    for name in ("environ", "mem", "maps", "auxv"):
        try:
            open(f"/proc/{pid}/{name}", "rb").close()
            print(pid, name)
        except PermissionError:
            pass
"""
)


def seen_by_others(*pids: int) -> str:
    """What another process of the same user may open of these."""
    words = [sys.executable, "-c", LOOK, *map(str, pids)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("dumpable", [False, True])
async def test_no_other_process_of_the_user_can_look_into_it_unless_that_is_wanted(
    run: Run, api: Api, *, dumpable: bool
) -> None:
    env = {**TOKEN, "COUNTERSIGN_SERVER__WORKERS": "2", "COUNTERSIGN_SERVER__DUMPABLE": str(dumpable).lower()}
    flags = run_to(api, "--log-format", "json")
    process = await run(*flags, env={**env, "COUNTERSIGN_TOKENS__STORE": "memory"}, program=RUN)
    assert (await process.ask()).status == 200
    pids = [process.process.pid, *children(process.process.pid)]
    assert len(pids) == 3
    found = await asyncio.to_thread(seen_by_others, *pids)
    assert len(found.split("\n")[:-1]) == (3 * 4 if dumpable else 0), found
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert '"status": 200' in process.said  # its own descriptors are still its own


CONFIG = """
[server]
listen = ["127.0.0.1:0"]
client_token = {{ env = "LET_IN" }}
[tokens]
key = {{ env = "KEEPS_TOKENS" }}
[routes.a]
prefix = "/a"
upstream = "{url}"
credential = {{ type = "exec", command = ["sh", "-c", "{look} > exec; echo printed-token-1"] }}
[routes.b]
prefix = "/b"
upstream = "{url}"
credential = {{ type = "bearer", token = {{ command = ["sh", "-c", "{look} > command; echo printed-token-2"] }} }}
"""
LOOK_AROUND = "cat /proc/self/environ /proc/$PPID/cmdline"


async def test_programs_that_it_starts_do_not_see_what_is_its_own(run: Run, api: Api, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CONFIG.format(url=api.url, look=LOOK_AROUND))
    own = {
        "LET_IN": f"{CANARY}-1", "KEEPS_TOKENS": f"{CANARY}-2", "COUNTERSIGN_STORE_KEY": f"{CANARY}-3",
        "COUNTERSIGN_SERVER__ADMIN_TOKEN": f"{CANARY}-4",
    }  # fmt: skip
    process = await run("run", "--config", "c.toml", env={**own, "AWS_PROFILE": "theirs"})
    port = await process.port()
    for path in (b"a", b"b"):
        request = b"GET /%s HTTP/1.1\r\nHost: localhost\r\nX-Countersign-Token: %s\r\n\r\n" % (
            path,
            own["LET_IN"].encode(),
        )
        assert (await process.ask(request, port)).status == 200
    assert [message.get("Authorization") for message in api.messages] == [
        b"Bearer printed-token-1",
        b"Bearer printed-token-2",
    ]
    for name in ("exec", "command"):
        seen = (tmp_path / name).read_bytes()
        assert b"\0AWS_PROFILE=theirs\0" in b"\0" + seen
        assert b"PATH=" in seen
        assert CANARY.encode() not in seen
        assert b"COUNTERSIGN" not in seen
    stored = (tmp_path / "countersign" / "tokens.json").read_text()
    assert json.loads(stored)["cipher"]
    assert "printed-token" not in stored


async def test_a_kept_body_has_no_name_and_a_kill_leaves_nothing(run: Run, api: Api, tmp_path: Path) -> None:
    held, room = Held(), tmp_path / "room"
    room.mkdir()
    api.script = [held]
    env = {
        **TOKEN,
        "TMPDIR": str(room),
        "COUNTERSIGN_LIMITS__REPLAY_MEMORY": "1KiB",
        "COUNTERSIGN_SERVER__DUMPABLE": "true",
    }
    process = await run(*run_to(api), env=env)
    client = await process.connect(await process.port())
    body = b"x" * 300_000
    await client.send(b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    descriptors = Path(f"/proc/{process.process.pid}/fd")

    def kept() -> list[str]:
        names = [os.readlink(each) for each in descriptors.iterdir()]  # noqa: PTH115  # what is deleted is no path
        return [name for name in names if str(room) in name]

    async with asyncio.timeout(20):
        while not kept():
            await asyncio.sleep(0.01)
    assert all(re.search(r" \(deleted\)$", name) for name in kept())
    assert list(room.iterdir()) == []
    process.signal(signal.SIGKILL)
    assert await process.process.wait() == -signal.SIGKILL
    assert list(room.iterdir()) == []


SECRET = """
[server]
listen = ["127.0.0.1:0"]
admin = ""
dumpable = {dumpable}
[tokens]
store = "file"
key = {{ command = ["sh", "-c", "touch {room}/asked; sleep 60"] }}
[routes.a]
upstream = "http://127.0.0.1:1"
credential = "a"
[credentials.a]
type = "oauth2"
grant = "authorization_code"
client_id = "x"
client_auth = "none"
token_url = "http://127.0.0.1:1/t"
authorization_url = "http://127.0.0.1:1/a"
"""
COMMANDS = {
    "login": ("login", "a"),
    "check": ("check",),
    "tokens": ("tokens", "list"),
    "run": ("run",),
}


def killed(room: Path, *arguments: str) -> int:
    """Abort a command while it waits for a secret; return its wait status."""
    line = f'ulimit -c unlimited; exec {sys.executable} -m proxy "$@"'
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(room)}
    command = ["bash", "-c", line, "countersign", *arguments, "--config", str(room / "c.toml")]
    process = subprocess.Popen(
        command, cwd=room, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while not (room / "asked").exists():
            assert not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), arguments
            assert time.monotonic() < until
            time.sleep(0.01)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
    finally:
        process.send_signal(signal.SIGABRT)
        status = os.waitpid(process.pid, 0)[1]
        process.returncode = status
    return status


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_leaves_no_core_dump(tmp_path: Path, name: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(SECRET.format(dumpable="false", room=tmp_path))
    config.chmod(0o600)
    status = killed(tmp_path, *COMMANDS[name])
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert not os.WCOREDUMP(status)
    assert not list(tmp_path.glob("core*"))


def test_one_that_may_be_dumped_leaves_one(tmp_path: Path) -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text()[0] == "|":
        pytest.skip("this machine hands core dumps to a program")
    try:
        # An earlier test may have forbidden them to this process, which only root can undo.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.RLIM_INFINITY))
    except ValueError:
        pytest.skip("this process may leave no core dumps")
    config = tmp_path / "c.toml"
    config.write_text(SECRET.format(dumpable="true", room=tmp_path))
    config.chmod(0o600)
    assert os.WCOREDUMP(killed(tmp_path, *COMMANDS["login"]))
    for core in tmp_path.glob("core*"):
        core.unlink()
