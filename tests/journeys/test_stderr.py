"""Whatever stderr is, and whether or not somebody reads it: requests are served, and lost lines are counted."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import socket
import sys
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.journeys.processes import ROOT
from tests.journeys.test_reload import free_port
from tests.journeys.wires import HEAD, PATIENCE, Api, Line
from tests.watching import watch

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc")

LONG = HEAD.replace(b"/x", b"/" + b"x" * 900)
LINE = re.compile(rb'(\{"(time|lines)": .*\}|(\x1b\[2m)?\d\d:\d\d:\d\d.*|listening on .*|  default  .*)\r*\n')
MANY = 250  # requests, whose lines are more than anything here keeps


class Stderr:
    """What is given to a process as its stderr, and the end that is read.

    Attributes:
        given: the descriptor that the process inherits.

    """

    def __init__(self, given: int, read: int) -> None:
        self.given, self._read = given, read
        self.said = b""

    async def says(self, words: bytes) -> bytes:
        """Read until something has been said; return the line of it."""
        os.set_blocking(self._read, False)
        async with asyncio.timeout(PATIENCE):
            while b"\n" not in self.said.partition(words)[2]:
                try:
                    self.said += os.read(self._read, 1 << 16)
                except BlockingIOError:
                    await asyncio.sleep(0.01)
        before, _, after = self.said.partition(words)
        return before.rpartition(b"\n")[2] + after.partition(b"\n")[0]

    def begin(self) -> None:
        """Let what has been written be read."""

    def close(self) -> None:
        for descriptor in (self.given, self._read):
            with suppress(OSError):
                os.close(descriptor)


class Stopped(Stderr):
    """A terminal, as by Ctrl-S."""

    def __init__(self) -> None:
        super().__init__(*reversed(pty.openpty()))
        tty.setraw(self.given)
        termios.tcflow(self.given, termios.TCOOFF)

    def begin(self) -> None:
        termios.tcflow(self.given, termios.TCOON)


def sockets(kind: socket.SocketKind) -> Stderr:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return Stderr(one.detach(), other.detach())


KINDS: dict[str, Callable[[], Stderr]] = {
    "a pipe": lambda: Stderr(*reversed(os.pipe())),
    "a unix socket, as systemd's": lambda: sockets(socket.SOCK_STREAM),
    "a unix socket for datagrams": lambda: sockets(socket.SOCK_DGRAM),
    "a terminal": lambda: Stderr(*reversed(pty.openpty())),
    "a terminal that is stopped": Stopped,
}

Begin = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, int]]]


@pytest.fixture
async def begin(api: Api, tmp_path: Path) -> AsyncIterator[Begin]:
    """Start a process with that as its stderr; return it and its port."""
    processes = []

    async def begun(stderr: int, *command: str, workers: int = 1) -> tuple[asyncio.subprocess.Process, int]:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", *(command or ("run", "--to", api.url)), "--listen", f"127.0.0.1:{port}"),
            env={**os.environ, "PYTHONPATH": str(ROOT), "COUNTERSIGN_SERVER__ADMIN": "",
                 "COUNTERSIGN_SERVER__WORKERS": str(workers)},
            stdin=asyncio.subprocess.DEVNULL, stdout=stderr, stderr=stderr, cwd=tmp_path,
        )  # fmt: skip
        processes.append(process)
        return process, port

    yield begun
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def connected(port: int) -> Line:
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(ConnectionRefusedError):
                return Line(*await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.02)


async def served(port: int, count: int, request: bytes = LONG) -> None:
    client = await connected(port)
    for _ in range(count):
        await client.send(request)
        assert (await client.answer()).status == 200
        client.forget()
    client.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [1, 2])
async def test_where_nobody_reads_it_nobody_waits_and_what_was_lost_is_told(
    begin: Begin, kind: str, workers: int
) -> None:
    stderr = KINDS[kind]()
    try:
        process, port = await begin(stderr.given, workers=workers)
        await served(port, MANY)
        assert os.get_blocking(stderr.given)  # others may have it, too, and want to wait
        stderr.begin()
        # Though no other line follows.
        told = await stderr.says(b"lines of the log were lost")
        assert 0 < int(re.findall(rb'lines(?:=|": )(\d+)', told)[0]) < MANY + 10
        if workers == 1:
            assert [line for line in LINE.sub(b"", stderr.said).splitlines() if line.strip()] == []
        process.send_signal(signal.SIGTERM)
        await stderr.says(b"stopping")
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
        watch.hear("a process", stderr.said.decode())
    finally:
        stderr.close()


@pytest.mark.parametrize("kind", ["a unix socket, as systemd's", "a terminal that is stopped"])
@pytest.mark.parametrize("command", ["run", "demo"])
async def test_one_that_is_full_from_the_start_keeps_it_from_nothing(
    begin: Begin, api: Api, kind: str, command: str
) -> None:
    stderr = KINDS[kind]()
    try:
        os.set_blocking(stderr.given, False)
        with suppress(BlockingIOError):
            while os.write(stderr.given, b"." * 1000):
                pass
        os.set_blocking(stderr.given, True)
        process, port = await begin(stderr.given, *(("demo",) if command == "demo" else ("run", "--to", api.url)))
        target = HEAD.replace(b"/x", b"/basic/hello" if command == "demo" else b"/x")
        await served(port, 3, target)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
    finally:
        stderr.close()


async def test_what_third_party_code_prints_or_warns_of_holds_nothing_up(
    begin: Begin, api: Api, tmp_path: Path
) -> None:
    (tmp_path / "chatty.py").write_text(
        "import sys, warnings, httpx\nclass Chatty(httpx.Auth):\n  async def async_auth_flow(self, request):\n"
        "    print('y' * 1000)\n    print('y' * 1000, file=sys.stderr, flush=True)\n"
        "    warnings.warn(UserWarning('y' * 1000 + repr(id(request))))\n    yield request\n"
    )
    (tmp_path / "countersign.toml").write_text(
        f'[routes.a]\nprefix = "/"\nupstream = "{api.url}"\ncredential = "c"\n'
        '[credentials.c]\ntype = "python"\nclass = "chatty:Chatty"\n'
    )
    stderr = KINDS["a unix socket, as systemd's"]()
    try:
        _, port = await begin(stderr.given, "run")
        await served(port, MANY, HEAD)
        await stderr.says(b"lines of the log were lost")
        assert b"py.warnings: " in stderr.said
    finally:
        stderr.close()
