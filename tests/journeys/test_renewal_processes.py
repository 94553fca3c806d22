"""Four processes share a token that lives three seconds, and whoever renews it is killed again and again.

The authorization server rotates refresh tokens and detects their reuse: one that was answered may come again only as
long as nobody has used what it gave, since then the answer was lost. ``COUNTERSIGN_RENEWAL_SECONDS=60`` takes longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import parse_qs

import pytest

from tests.journeys.processes import Process, Run
from tests.journeys.wires import HEAD, OK, Api, Line, Message, answer

SECONDS = float(os.environ.get("COUNTERSIGN_RENEWAL_SECONDS", "5"))
LIFE = 3
SOONEST = 0.75 * LIFE  # after which a token is renewed
PROCESSES, CLIENTS = 4, 3  # clients of each

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="who holds a lock stands in /proc/locks")

CONFIG = """
[server]
listen = ["127.0.0.1:0"]
admin = ""

[tokens]
store = "file"
path = "{folder}/tokens.json"

[routes.api]
prefix = "/"
upstream = "{api}"
credential = "api"

[credentials.api]
type = "oauth2"
grant = "refresh_token"
token_url = "{issuer}/token"
client_id = "me"
client_auth = "none"
refresh_token = {{ env = "FIRST_TOKEN" }}
"""


@dataclass(eq=False)
class Issued:
    """An access and a refresh token."""

    number: int
    expires: float
    used: bool = False
    successor: Issued | None = None


class Server:
    """An authorization server and its API.

    Attributes:
        grants: how often tokens were given.
        lost: how often that was asked for again, since nobody had got the answer.
        reused: refresh tokens that came again though what they gave had been used.

    """

    def __init__(self) -> None:
        self.random = Random(7)
        self.issued = [Issued(0, 0.0)]
        self.grants = self.lost = 0
        self.reused: list[int] = []

    async def token(self, message: Message, line: Line) -> None:
        """Answer a token request, as slowly as a real one."""
        await asyncio.sleep(self.random.uniform(0, 0.03))
        form = parse_qs(message.body.decode())
        old = self.issued[int(form["refresh_token"][0].removeprefix("refresh-"))]
        if old.successor is not None:
            if old.successor.used:
                self.reused.append(old.number)
            self.lost += 1
        old.used = True
        new = old.successor = Issued(len(self.issued), time.monotonic() + LIFE)
        self.issued.append(new)
        self.grants += 1
        await asyncio.sleep(self.random.uniform(0, 0.03))
        given = {"access_token": f"access-{new.number}", "refresh_token": f"refresh-{new.number}", "expires_in": LIFE}
        await line.send(answer(200, json.dumps(given).encode()))

    async def api(self, message: Message, line: Line) -> None:
        """Answer who has a good token."""
        value = (message.get("Authorization") or b"").decode().removeprefix("Bearer access-")
        token = self.issued[int(value)]
        token.used = True
        await line.send(OK if time.monotonic() < token.expires else answer(401, b"expired"))


class Fleet:
    """The processes, and the clients that call them all the time."""

    def __init__(self, run: Run, config: Path) -> None:
        self._run = run
        self._config = config
        self._processes: list[Process] = []
        self.statuses: Counter[int] = Counter()
        self.kills = 0
        self.over = False

    async def start(self) -> None:
        """Start one more."""
        env = {"FIRST_TOKEN": "refresh-0"}
        process = await self._run("run", "--config", str(self._config), "--no-access-log", env=env)
        for _ in range(3):  # they start all at once, on a machine that may be busy
            with suppress(TimeoutError):
                await process.port()
                break
        self._processes.append(process)

    async def call(self, number: int) -> None:
        """Call one process after the other's death, over and over, on kept-alive connections."""
        while not self.over:
            process = self._processes[number % len(self._processes)]
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # it has been killed
                client = await process.connect(await process.port())
                while not self.over:
                    await client.send(HEAD)
                    self.statuses[(await client.answer()).status] += 1
                    client.forget()
                    await asyncio.sleep(0.01)

    async def kill_holders(self, lock: Path, pause: float) -> None:
        """Every now and then, kill whoever holds the lock, at some moment of its renewal."""
        random = Random(11)
        while not self.over:
            await asyncio.sleep(pause)
            async for holder in self._holders(lock):
                await asyncio.sleep(random.uniform(0, 0.07))
                await self._kill(holder)
                break

    async def _holders(self, lock: Path) -> AsyncIterator[int]:
        while not self.over:
            inode = lock.stat().st_ino
            for held in Path("/proc/locks").read_text().splitlines():
                fields = held.split()
                if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
                    yield int(fields[4])
            await asyncio.sleep(0.002)

    async def _kill(self, holder: int) -> None:
        for process in self._processes:
            if process.process.pid == holder:
                self._processes.remove(process)
                os.kill(holder, signal.SIGKILL)
                self.kills += 1
                await self.start()
                return


async def test_nobody_notices_and_no_refresh_token_is_used_twice(run: Run, tmp_path: Path) -> None:
    server = Server()
    async with Api() as issuer, Api() as api:
        issuer.always, api.always = server.token, server.api
        config = tmp_path / "countersign.toml"
        config.write_text(CONFIG.format(folder=tmp_path, api=api.url, issuer=issuer.url))
        fleet = Fleet(run, config)
        await asyncio.gather(*(fleet.start() for _ in range(PROCESSES)))
        clients = [asyncio.create_task(fleet.call(number)) for number in range(PROCESSES * CLIENTS)]
        while not fleet.statuses[200]:
            await asyncio.sleep(0.01)
        (lock,) = tmp_path.glob("tokens.json.lock-*")
        began = time.monotonic()
        killing = asyncio.create_task(fleet.kill_holders(lock, pause=1.0))
        await asyncio.sleep(SECONDS)
        fleet.over = True
        lasted = time.monotonic() - began
        await asyncio.gather(*clients, killing)
    assert set(fleet.statuses) == {200}, fleet.statuses
    assert server.reused == []
    assert fleet.kills >= SECONDS / 15  # a new process takes its time to start
    assert server.lost <= fleet.kills
    renewals = server.grants - 1 - server.lost
    assert lasted / LIFE - 2 <= renewals <= lasted / SOONEST + 1
