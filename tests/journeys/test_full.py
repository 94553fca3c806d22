"""Disks that are full or can't be written, and a log that nobody takes: the process serves on, and says what it can."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.processes import Process, Run, page, run_to
from tests.journeys.wires import HEAD, OK, PATIENCE, Api, Line, Message, answer

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's devices and pipes")
REDIRECTIONS = ["2>&- >&- <&-", "2>/dev/full >/dev/full", "2> >(true)"]


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, as soon as somebody listens there: nothing says so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(FileNotFoundError, ConnectionRefusedError):
                return await asyncio.open_unix_connection(path)
            await asyncio.sleep(0.01)


@linux
@pytest.mark.parametrize("redirection", REDIRECTIONS)
async def test_a_log_that_nobody_takes_is_no_reason_to_end(
    run: Run, api: Api, tmp_path: Path, redirection: str
) -> None:
    path = tmp_path / "s"
    arguments = run_to(api, "--listen", f"unix:{path}")
    process = await run(*arguments, env={"TOKEN": "x"}, shell=f'exec "$0" "$@" {redirection}')
    for _ in range(3):
        line = Line(*await connected(path))
        await line.send(HEAD)
        assert (await line.answer()).status == 200
        line.close()
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


@linux
async def test_a_log_that_is_not_read_lets_nobody_wait(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env={"TOKEN": "x"})
    client = await process.connect(await process.port())
    for _ in range(400):  # with lines that make more than a pipe and a reader's buffer hold
        await client.send(HEAD.replace(b"/x", b"/" + b"x" * 1000))
        assert (await client.answer()).status == 200
    await process.says("status page")
    waiting = asyncio.create_task(process.says("lines of the log were lost"))
    while not waiting.done():
        await client.send(HEAD)
        assert (await client.answer()).status == 200


# -- descriptors ---------------------------------------------------------------------------------------


@linux
async def test_out_of_descriptors_it_accepts_again_as_soon_as_there_are_some(run: Run, api: Api) -> None:
    process = await run(*run_to(api), env={"TOKEN": "x"}, shell='ulimit -n 60; exec "$0" "$@"')
    port = await process.port()
    crowd = []
    for _ in range(80):
        crowd.append(await process.connect(port))
        await crowd[-1].send(HEAD[:20])
    for line in crowd:
        line.reset()
    answered = False
    async with asyncio.timeout(PATIENCE):
        while not answered:
            with suppress(asyncio.IncompleteReadError):  # that of a crowd that has not been seen to leave yet
                answered = (await process.ask(port=port)).status == 200
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0


# -- the token store -----------------------------------------------------------------------------------


class Issuer:
    """An API whose tokens are refused after their first use, and where they come from."""

    def __init__(self, api: Api) -> None:
        self.count = 0
        self.used: set[bytes] = set()
        api.always = self

    async def __call__(self, message: Message, line: Line) -> None:
        token = message.get("Authorization")
        if message.target == b"/token":
            self.count += 1
            issued = {"access_token": f"t{self.count}", "token_type": "Bearer", "expires_in": 3600}
            await line.send(answer(200, json.dumps(issued).encode(), "Content-Type: application/json"))
        elif token in self.used or token is None:
            await line.send(answer(401))
        else:
            self.used.add(token)
            await line.send(OK)


async def with_store(run: Run, api: Api, tmp_path: Path, store: Path, **options: Any) -> Process:
    file = tmp_path / "c.toml"
    file.write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\n[tokens]\nstore = "file"\npath = "{store}"\n'
        f'[routes.a]\nprefix = "/"\nupstream = "{api.url}"\ncredential = {{ type = "oauth2", '
        f'grant = "client_credentials", token_url = "{api.url}/token", client_id = "me", client_secret = "hush" }}\n'
    )
    file.chmod(0o600)
    return await run("run", "--config", str(file), **options)


async def serves_untouched(process: Process, issuer: Issuer) -> None:
    port = await process.port()
    before = issuer.count
    for _ in range(3):
        assert (await process.ask(port=port)).status == 200
    assert issuer.count == before + 3


async def trouble(process: Process) -> Any:
    admin, _ = await process.admin()
    return json.loads((await process.ask(page("/readyz"), admin)).body).get("store")


# Each of them makes the store unwritable, in a mount namespace of its own where it takes that.
MOUNTS = {
    "a disk that is full": "mount -t tmpfs -o size=64k none {0} && (cat /dev/zero > {0}/rest; true)",
    "a disk that can't be written": "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
}


async def may_mount() -> bool:
    tried = await asyncio.create_subprocess_exec("unshare", "-m", "true", stderr=asyncio.subprocess.DEVNULL)
    return await tried.wait() == 0


@linux
@pytest.mark.parametrize("kind", MOUNTS)
async def test_tokens_serve_from_memory_where_the_store_is_on(run: Run, api: Api, tmp_path: Path, kind: str) -> None:
    if not await may_mount():
        pytest.skip("only root may mount")
    issuer = Issuer(api)
    folder = tmp_path / "store"
    folder.mkdir()
    mount = MOUNTS[kind].format(folder)
    process = await with_store(
        run,
        api,
        tmp_path,
        folder / "tokens.json",
        shell=f'exec unshare -m sh -c \'{mount}; exec "$0" "$@"\' "$0" "$@" ',
    )
    await serves_untouched(process, issuer)
    await process.says(r"token store \S+ can't be (written|locked)")
    assert "can't be" in await trouble(process)
    process.signal(signal.SIGTERM)
    assert await process.ends() == 0
    assert "t3" not in process.said


async def test_a_store_whose_lock_can_t_be_had_costs_nobody_a_request(run: Run, api: Api, tmp_path: Path) -> None:
    issuer = Issuer(api)
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "tokens.json.lock").mkdir()
    process = await with_store(run, api, tmp_path, folder / "tokens.json")
    await serves_untouched(process, issuer)
    assert "can't be written" in await trouble(process)
    (folder / "tokens.json.lock").rmdir()
    await serves_untouched(process, issuer)
    assert await trouble(process) is None
    assert "t6" in (folder / "tokens.json").read_text()


# -- what is kept for a replay ---------------------------------------------------------------------------


NO_ROOM = {
    "a disk that gets full": "mount -t tmpfs -o size=512k none {0}",
    # Read-only, and still there: the checkout may be in one of them.
    "nowhere": "for each in /tmp /var/tmp /usr/tmp .; do [ -d $each ] && mount --bind $each $each && "
    "mount -o remount,ro,bind $each; done; true",
}


@linux
@pytest.mark.parametrize("place", NO_ROOM)
async def test_a_body_that_can_t_be_kept_goes_on_and_is_not_sent_again(
    run: Run, api: Api, tmp_path: Path, place: str
) -> None:
    if not await may_mount():
        pytest.skip("only root may mount")
    folder = tmp_path / "tmp"
    folder.mkdir()
    body = bytes(3 << 20)
    put = b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    shell = f'exec unshare -m sh -c \'{NO_ROOM[place].format(folder)}; exec "$0" "$@"\' "$0" "$@"'
    process = await run(*run_to(api), env={"TOKEN": "x", "TMPDIR": str(folder)}, shell=shell)
    api.script = [answer(503), OK]
    port = await process.port()
    for status in (503, 200):  # the first would be repeated, had it been kept
        seen = await process.ask(put + body, port)
        assert seen.status == status
    assert [message.body == body for message in api.messages] == [True, True]
