"""Many requests over a network that breaks: right answers and clean errors, and nothing is left behind.

``COUNTERSIGN_CHAOS=20000`` asks for more of them, ``COUNTERSIGN_SEED=7`` for others.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.conftest import Running, Start
from tests.journeys.wires import PATIENCE, Api, Line, Message
from tests.relay import Relay, seeded

# Read here: no test sees the machine's variables.
ASKED = int(os.environ.get("COUNTERSIGN_CHAOS", "400"))
SEED = int(os.environ.get("COUNTERSIGN_SEED", "1"))
CLIENTS = 16
FAULTS = {502, 503, 504}
CUT = (httpx.RemoteProtocolError, httpx.ReadError)


def content(number: int) -> bytes:
    """The body of a request or an answer, which nothing else has a piece of."""
    size = int(200_000 ** Random(number).random())
    return (hashlib.sha256(b"%d" % number).digest() * (size // 32 + 1))[:size]


class Bank(Api):
    """Answers ``/down/NUMBER`` and takes ``/up/NUMBER``.

    Attributes:
        taken: how often each number was executed.

    """

    def __init__(self) -> None:
        super().__init__()
        self.always = self._speak
        self.taken: Counter[int] = Counter()

    async def _speak(self, message: Message, line: Line) -> None:
        self.messages.clear()
        line.forget()
        _, way, digits = message.target.split(b"/")
        number = int(digits)
        if way == b"up":
            assert message.body == content(number)
            self.taken[number] += 1
            body = hashlib.sha256(message.body).hexdigest().encode()
        else:
            body = content(number)
        if number % 2:
            chunks = (body[at : at + 4096] for at in range(0, len(body), 4096))
            framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
            await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed)
        else:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def one(client: httpx.AsyncClient, number: int) -> str:
    """Ask once, check what came, and say what that was."""
    method = ("GET", "POST", "PUT")[number % 3]
    way = "down" if method == "GET" else "up"
    body = content(number) if way == "up" else None
    right = hashlib.sha256(body).hexdigest().encode() if body is not None else content(number)
    try:
        answer = await client.request(method, f"/{way}/{number}", content=body)
    except CUT:
        return "cut"
    if answer.status_code in FAULTS:
        assert answer.json()["status"] == answer.status_code
        return "fault"
    assert answer.status_code == 200, answer.text
    assert answer.content == right, number
    return "right"


def transport(running: Running) -> tuple[int, int]:
    made = running.app._now.gateway.table.routes[0].exchange.upstream._transport
    return made.open, made.idle  # type: ignore[attr-defined]  # it is ours


def held() -> tuple[int, int]:
    """Tasks and file descriptors of this process."""
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


async def settles(condition: object, wanted: object) -> None:
    async with asyncio.timeout(PATIENCE):
        while condition() != wanted:  # type: ignore[operator]
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_chaos_harms_no_answer_and_leaves_nothing_behind(start: Start) -> None:
    async with Bank() as bank:
        relay = Relay(bank.port, seeded(SEED, 0.3))
        async with relay:
            table = {
                "retry": {"backoff": "2ms", "budget": 1.0},
                "routes": {"api": {"prefix": "/", "upstream": relay.url}},
            }
            running = await start(table)
            tasks, files = held()
            async with httpx.AsyncClient(base_url=running.url, trust_env=False, timeout=PATIENCE) as client:
                numbers = iter(range(ASKED))
                seen: Counter[str] = Counter()

                async def ask() -> None:
                    for number in numbers:
                        seen[await one(client, number)] += 1

                async with asyncio.TaskGroup() as clients:
                    for _ in range(CLIENTS):
                        clients.create_task(ask())
            opened, idle = transport(running)
            assert opened == idle
        assert seen.total() == ASKED
        assert seen["right"] > 0.8 * ASKED
        assert [number for number, times in bank.taken.items() if number % 3 == 1 and times > 1] == []
        await settles(lambda: transport(running), (0, 0))
        await settles(held, (tasks, files - 1))  # the relay's own socket is closed, too
