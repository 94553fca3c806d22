"""A forward proxy of the tests' own, on a real socket: it alone knows where the names of a test lead."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.sockets import reset

_DROPPED = ("proxy-authorization", "proxy-connection", "connection", "upgrade")


@dataclass(frozen=True)
class Asked:
    """One request to the proxy."""

    method: str
    target: str
    authorization: str | None


class ForwardProxy:
    """Tunnels by CONNECT, and forwards what comes in the absolute form.

    Attributes:
        names: the port on this machine that each host is at; other hosts are 502.
        authorization: what ``Proxy-Authorization`` has to be, else 407; empty for nothing.
        asked: each request.

    """

    def __init__(self, names: dict[str, int], authorization: str = "") -> None:
        self.names = names
        self.authorization = authorization
        self.asked: list[Asked] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def hosts(self) -> set[str]:
        """Hosts that it was asked for."""
        return {asked.target.removeprefix("http://").partition("/")[0].partition(":")[0] for asked in self.asked}

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        ends = [writer]
        try:
            await self._serve(reader, ends)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side had enough
        except asyncio.CancelledError:
            for end in ends:
                reset(end)
        finally:
            for end in ends:
                end.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, ends: list[asyncio.StreamWriter]) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = start.split(" ")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        given = next((value for name, value in fields if name.lower() == "proxy-authorization"), None)
        self.asked.append(Asked(method, target, given))
        authority, slash, path = target.removeprefix("http://").partition("/")
        port = self.names.get(authority.rpartition(":")[0] or authority)
        if self.authorization and given != self.authorization:
            ends[0].write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif port is None:
            ends[0].write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            ends.append(up_writer)
            if method == "CONNECT":
                ends[0].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [f"{name}: {value}" for name, value in fields if name.lower() not in _DROPPED]
                up_writer.write("\r\n".join([f"{method} {slash}{path} HTTP/1.1", *kept, "", ""]).encode("latin-1"))
            await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, ends[0]))
        await ends[0].drain()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
