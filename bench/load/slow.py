"""Many clients who send the head of a request a byte at a time, and never come to its end.

python -m bench.load.slow PORT COUNT
"""

from __future__ import annotations

import asyncio
import json
import resource
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

from bench.load import LoadError

_PAUSE = 2.0  # seconds between two bytes of each
_AT_ONCE = 200  # that connect
_PATIENCE = 60.0  # seconds
_SPARE = 200  # files that are open besides
_BEGINNING = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


@dataclass
class Fates:
    """What became of them.

    Attributes:
        lives: seconds from the connection to its end, of each that has ended.
        told: how many were answered 408.
        left: how many were still there when patience ended.

    """

    lives: list[float] = field(default_factory=list)
    told: int = 0
    left: int = 0


class Slow(asyncio.Protocol):
    """One of them.

    Attributes:
        ended: done when its connection has come to its end.

    """

    def __init__(self, fates: Fates) -> None:
        self._fates = fates
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._since = self._loop.time()
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(_BEGINNING)
        self._timer = self._loop.call_later(_PAUSE, self._drip)

    def data_received(self, data: bytes) -> None:
        """Nothing but a refusal can come."""
        self._fates.told += data.startswith(b"HTTP/1.1 408 ")

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._timer.cancel()
        self._fates.lives.append(self._loop.time() - self._since)
        self.ended.set_result(None)

    def _drip(self) -> None:
        self._transport.write(b"x")
        self._timer = self._loop.call_later(_PAUSE, self._drip)


async def _flood(port: int, count: int) -> None:
    """Open `count` of them as fast as it goes, say so, and wait until all have come to their end."""
    fates = Fates()
    loop = asyncio.get_running_loop()
    clients: list[Slow] = []
    while len(clients) < count:
        some = range(min(_AT_ONCE, count - len(clients)))
        made = [loop.create_connection(lambda: Slow(fates), "127.0.0.1", port) for _ in some]
        clients += [client for _, client in await asyncio.gather(*made)]
    _tell(fates)
    _, left = await asyncio.wait([client.ended for client in clients], timeout=_PATIENCE)
    fates.left = len(left)
    _tell(fates)


def _tell(fates: Fates) -> None:
    print(json.dumps(asdict(fates)), flush=True)


class Flood:
    """The clients, in a process of their own: `flooding`."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def has_news(self) -> bool:
        """Whether `news` has something to tell: that all are open, or in the end what became of them."""
        assert self._popen.stdout
        return bool(select.select([self._popen.stdout], [], [], 0)[0])

    def news(self) -> Fates:
        """Return what became of them so far.

        Raises:
            LoadError: they could not connect.

        """
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            raise LoadError("the slow clients could not connect")
        return Fates(**json.loads(line))


@contextmanager
def flooding(port: int, count: int) -> Iterator[Flood]:
    """Have `count` slow clients come until the end of the block.

    Raises:
        LoadError: this machine lets no process have so many open files.

    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + _SPARE:
        raise LoadError(f"{count} connections need as many open files; this machine allows {hard} (ulimit -Hn)")
    command = [sys.executable, "-m", "bench.load.slow", str(port), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        try:
            yield Flood(popen)
        finally:
            popen.kill()


def main(port: int, count: int) -> None:
    """Be the clients."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_flood(port, count))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
