"""A relay that does to connections what networks do to them, and the same again for the same seed.

What happens to a connection is a pure function of the seed and of its number, so that a run that failed can be run
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from types import TracebackType
from typing import Literal, Self

from tests.sockets import reset

End = Literal["reset", "close", "half-close", "hang"]
_READ = 1 << 16
_SLICED = 1 << 12  # bytes: a large body in the smallest pieces takes for ever, and shows no more


@dataclass(frozen=True)
class Fate:
    """What happens to one direction of a connection.

    Attributes:
        latency: seconds that each piece is late.
        bandwidth: bytes a second; 0 for all that there is.
        piece: bytes that are sent at once, at most, of the first 4 KiB; 0 for what comes.
        after: bytes after which `end` happens; None for never.
        end: how it ends: ``half-close`` ends this direction only, ``hang`` passes nothing on any more.

    """

    latency: float = 0.0
    bandwidth: int = 0
    piece: int = 0
    after: int | None = None
    end: End = "reset"


@dataclass(frozen=True)
class Fates:
    """What happens to a connection: on its way up, to who listens, and down, to who dialled."""

    up: Fate = Fate()
    down: Fate = Fate()


Plan = Callable[[int], Fates]
UNHARMED = Fates()


def seeded(
    seed: int, share: float, longest: int = 1 << 16, ends: Sequence[End] = ("reset", "close", "half-close")
) -> Plan:
    """Return a plan in which `share` of the connections come to harm, of all kinds.

    Args:
        seed: of all that is drawn.
        share: from 0 to 1.
        longest: bytes after which a connection ends at the latest, if it is to end early.
        ends: how they end.

    """

    def plan(number: int) -> Fates:
        random = Random(f"{seed}/{number}")
        if random.random() >= share:
            return UNHARMED
        slow = Fate(random.choice((0.0, 0.001, 0.01)), random.choice((0, 0, 1 << 20)), random.choice((0, 1, 7, 1460)))
        if slow.piece in (1, 7):
            slow = replace(slow, latency=0.0)
        ending = replace(slow, after=round(longest ** random.random()), end=random.choice(ends))
        kind = random.choice(("slow", "up", "down"))
        return {"slow": Fates(slow, slow), "up": Fates(ending, slow), "down": Fates(slow, ending)}[kind]

    return plan


class Relay:
    """Listens, and passes what comes to ``127.0.0.1:port`` and back, as its plan has it.

    Attributes:
        port: where it listens itself.
        count: connections so far.

    """

    def __init__(self, target: int, plan: Plan | Mapping[int, Fates] | Fates = UNHARMED) -> None:
        self._target = target
        if isinstance(plan, Fates):
            fates = plan
            self._plan: Plan = lambda _: fates
        elif isinstance(plan, Mapping):
            by_number = plan
            self._plan = lambda number: by_number.get(number, UNHARMED)
        else:
            self._plan = plan
        self.port = 0
        self.count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        fates = self._plan(self.count)
        self.count += 1
        ends = [writer]
        try:
            await self._pass_on(reader, ends, fates)
        except asyncio.CancelledError:
            # The relay ends: nothing waits for somebody to read what it still has for them.
            for end in ends:
                end.transport.abort()
        finally:
            for end in ends:
                end.close()
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, ends: list[asyncio.StreamWriter], fates: Fates) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(up_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(_pump(reader, up_writer, fates.up))
                pumps.create_task(_pump(up_reader, ends[0], fates.down))
        except* _ResetError:
            for end in ends:
                reset(end)
        except* OSError:
            pass

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=_READ, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _ResetError(Exception):
    """The connection is to end by a reset."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: Fate) -> None:
    passed = 0
    while True:
        room = _READ if fate.after is None else fate.after - passed
        if fate.after is not None and room <= 0:
            await _end(writer, fate.end)
            return
        piece = fate.piece if fate.piece and passed < _SLICED else _READ
        data = await reader.read(min(room, piece))
        if not data:
            with suppress(OSError):
                writer.write_eof()
            return
        passed += len(data)
        pause = fate.latency + (len(data) / fate.bandwidth if fate.bandwidth else 0.0)
        if pause:
            await asyncio.sleep(pause)
        writer.write(data)
        await writer.drain()


async def _end(writer: asyncio.StreamWriter, end: End) -> None:
    match end:
        case "reset":
            raise _ResetError
        case "close":
            raise ConnectionAbortedError
        case "half-close":
            writer.write_eof()
        case "hang":
            await asyncio.Event().wait()
