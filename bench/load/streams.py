"""Many event streams at once: every event counts, and how late it is."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

from bench.load import LoadError

_EVENT = re.compile(rb"data: (\d+) (\d+)\n\n")
_ACCEPTED_AT_ONCE = 50


@dataclass
class Tally:
    """What came over all streams.

    Attributes:
        delays: of all events, from the API's write to here, in milliseconds.
        missing: how many events never came, or came out of turn.

    """

    delays: list[float] = field(default_factory=list)
    missing: int = 0

    @property
    def p99(self) -> float:
        """The delay's 99th percentile, in milliseconds."""
        return sorted(self.delays)[len(self.delays) * 99 // 100]


class Stream(asyncio.Protocol):
    """A client of one.

    Attributes:
        opened: done when the first piece of the body is there.
        done: done when the answer or the connection has come to its end.

    """

    def __init__(self, path: str, tally: Tally) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.done: asyncio.Future[None] = loop.create_future()
        self.received = 0
        self._path = path
        self._tally = tally
        self._rest = b""
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        cast("asyncio.WriteTransport", transport).write(
            b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % self._path.encode()
        )

    def data_received(self, data: bytes) -> None:
        """Take the answer's frames apart."""
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing more will come."""
        self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Note the events of a piece of the body, which may begin or end within one."""
        if not self.opened.done():
            self.opened.set_result(None)
        now = time.monotonic_ns()
        data = self._rest + body
        end = 0
        for match in _EVENT.finditer(data):
            end = match.end()
            if int(match[1]) == self.received:
                self.received += 1
            self._tally.delays.append((now - int(match[2])) / 1e6)
        self._rest = data[max(end, data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0) :]

    def on_message_complete(self) -> None:
        """The answer has come to its end."""
        for future in (self.opened, self.done):
            if not future.done():
                future.set_result(None)


def drive(port: int, count: int, events: int, halfway: Callable[[], None]) -> Tally:
    """Hold `count` streams of `events` events each open at once; `halfway` is called when all are open.

    Raises:
        LoadError: a connection was refused, or no event came at all.

    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(_drive(port, count, events, halfway))
    if not tally.delays:
        raise LoadError("no event came")
    return tally


async def _drive(port: int, count: int, events: int, halfway: Callable[[], None]) -> Tally:
    tally = Tally()
    loop = asyncio.get_running_loop()
    streams: list[Stream] = []
    try:
        while len(streams) < count:
            some = range(min(_ACCEPTED_AT_ONCE, count - len(streams)))
            made = [loop.create_connection(lambda: Stream(f"/events/{events}", tally), "127.0.0.1", port) for _ in some]
            streams += [protocol for _, protocol in await asyncio.gather(*made)]
    except OSError as failure:
        raise LoadError(f"stream {len(streams)} was refused: {failure}") from None
    await asyncio.wait([each.opened for each in streams], timeout=events)
    await asyncio.sleep(events / 2)
    halfway()
    await asyncio.wait([each.done for each in streams], timeout=events + 10)
    tally.missing = sum(events - each.received for each in streams)
    return tally
