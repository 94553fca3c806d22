"""The command in processes of its own, as a shell, a service manager and a container see it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import proxy
from tests.journeys.wires import HEAD, OK, PATIENCE, Api, Line, Message
from tests.watching import watch

CANARY = "Zanary-7f3e-secret"
TOKEN = {"TOKEN": CANARY}
ADMIN_TOKEN = "4dm1n-t0k3n-of-tests"
ADMIN = {"COUNTERSIGN_SERVER__ADMIN_TOKEN": ADMIN_TOKEN}
ROOT = Path(proxy.__file__).parent.parent


class Process:
    """``countersign`` in a process of its own.

    Attributes:
        said: what it has said so far on stderr, and once it has ended on stdout.

    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self.out = ""
        self._lines: list[Line] = []

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until it says something on stderr."""
        assert self.process.stderr
        async with asyncio.timeout(PATIENCE * 2):
            while not (found := re.search(pattern, self.said)):
                line = await self.process.stderr.readline()
                assert line, f"it ended, and said:\n{self.said}"
                self.said += line.decode()
        return found

    async def port(self) -> int:
        return int((await self.says(r"listening on http://127\.0\.0\.1:(\d+)"))[1])

    async def admin(self) -> tuple[int, str]:
        """Port and token of the status page, where `ADMIN` is in the environment."""
        found = await self.says(r"status page: http://127\.0\.0\.1:(\d+)/\s")
        return int(found[1]), ADMIN_TOKEN

    async def connect(self, port: int) -> Line:
        line = Line(*await asyncio.open_connection("127.0.0.1", port))
        self._lines.append(line)
        return line

    async def ask(self, request: bytes = HEAD, port: int = 0) -> Message:
        client = await self.connect(port or await self.port())
        await client.send(request)
        return await client.answer()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        """Wait for its end; return its exit code."""
        assert self.process.stderr
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE * 2):
            out, err = await asyncio.gather(self.process.stdout.read(), self.process.stderr.read())
            code = await self.process.wait()
        self.said += err.decode()
        self.out += out.decode()
        assert "Traceback" not in self.said + self.out
        return code

    async def aclose(self) -> None:
        for line in self._lines:
            line.reset()
        if self.process.returncode is None:
            self.process.kill()
            out, err = await self.process.communicate()
            self.said += err.decode()
            self.out += out.decode()
        watch.hear("a process", self.out + self.said)


Run = Callable[..., Awaitable[Process]]


def run_to(api: Api, *more: str) -> tuple[str, ...]:
    return ("run", "--to", api.url, "--bearer", "env:TOKEN", "--listen", "127.0.0.1:0", *more)


class Held:
    """A step that answers when it is told to."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, _: Message, line: Line) -> None:
        await self.go_on.wait()
        await line.send(OK)


def page(path: str, *lines: str, host: str = "localhost") -> bytes:
    """A request to the admin listener."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines]).encode() + b"\r\n\r\n"
