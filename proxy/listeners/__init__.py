"""Where clients come in: a kind of address a file.

An address is text, ``127.0.0.1:8080`` or ``unix:/run/countersign.sock``; the kind that accepts it opens it.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator

from proxy import plugins
from proxy.errors import CountersignError
from proxy.gateway import Entrance

Factory = Callable[[Entrance], Callable[[], asyncio.Protocol]]
NOT_AN_ADDRESS = 'not an address; right would be "127.0.0.1:8080", "[::1]:8080" or "unix:/run/x.sock"'
BACKLOG = 4096  # the system may have a lower limit of its own
AT_ONCE = 16  # clients that are accepted in a turn of the loop: until then nobody can count them


class ListenError(CountersignError):
    """An address can't be listened on.

    Attributes:
        missing: whether this machine has no such address, or none of its kind.

    """

    def __init__(self, text: str, *, missing: bool = False) -> None:
        super().__init__(text)
        self.missing = missing

    @property
    def problem(self) -> str:
        """What is wrong, without what was expected."""
        return str(self).partition(";")[0]


class Listener(ABC):
    """An open address.

    It may be bound in one process and served by several: each makes a `Listener` of its own from the sockets,
    and accepts from its share of them.

    Args:
        address: as configured.
        sockets: those that listen on it: one, or one for each process that serves it.

    Attributes:
        entrance: what requests that come in here are told by.

    """

    scheme: ClassVar[str]
    entrance: Entrance

    def __init__(self, address: str, sockets: Sequence[socket.socket]) -> None:
        self.address = address
        self.sockets = tuple(sockets)
        self._servers: dict[int, list[asyncio.Server]] = {}

    @classmethod
    @abstractmethod
    def accepts(cls, address: str) -> bool:
        """Whether this kind is meant by `address`."""

    @classmethod
    @abstractmethod
    def check(cls, address: str) -> None:
        """Raise ValueError, with what would be right, if `address` is malformed."""

    @classmethod
    @abstractmethod
    def is_local(cls, address: str) -> bool:
        """Whether only this machine can reach `address`."""

    @classmethod
    @abstractmethod
    def bind(cls, address: str, shares: int = 1) -> Self:
        """Listen, for `shares` processes; clients wait until one of them accepts.

        Raises:
            ListenError: the address is taken, not ours, or not allowed.

        """

    @property
    @abstractmethod
    def shown(self) -> str:
        """The address as users can use it."""

    async def accept(self, factory: Factory, shares: Iterable[int] = (0,)) -> None:
        """Accept clients for these shares, and for no others any more; whoever waits in a queue is kept."""
        wanted = {share % len(self.sockets) for share in shares}
        for share in self._servers.keys() - wanted:
            _end(self._servers.pop(share))
        await self.prepare(factory, wanted)
        await self.serve()

    async def prepare(self, factory: Factory, shares: Iterable[int]) -> None:
        """Take the descriptors that accepting for these shares needs, and accept nobody yet.

        Raises:
            OSError: there are none left.

        """
        for share in {share % len(self.sockets) for share in shares} - self._servers.keys():
            # Kept before it serves: it must not go on unknown to `close` if whoever called this is cancelled meanwhile.
            servers = self._servers[share] = []
            for _ in range(_at_once()):
                # A duplicate, since the end of serving closes it.
                sock = self.sockets[share].dup()
                try:
                    servers.append(await self._server(factory(self.entrance), sock))
                except BaseException:
                    sock.close()
                    raise

    async def serve(self) -> None:
        """Accept clients for what has been prepared."""
        for share, servers in list(self._servers.items()):
            for server in servers:
                if not server.is_serving():
                    await server.start_serving()
            # asyncio takes the number of clients that it accepts in a turn for that of those who may wait, too.
            self.sockets[share].listen(BACKLOG)

    @abstractmethod
    async def _server(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket) -> asyncio.Server:
        """Return a server that will accept from `sock`."""

    def close(self) -> None:
        """Accept nobody any more; those who are in stay."""
        for servers in self._servers.values():
            _end(servers)
        self._servers.clear()
        for sock in self.sockets:
            sock.close()


def _at_once() -> int:
    """Return how often the loop must be told of a socket.

    uvloop takes one client in each turn of the loop, for each time that it was told. Turns are long where many are
    busy: newcomers would wait for one each. asyncio's own loops take `AT_ONCE`.
    """
    return 1 if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop) else AT_ONCE


def _end(servers: Iterable[asyncio.Server]) -> None:
    for server in servers:
        server.close()


_kinds = plugins.members("proxy.listeners", Listener)


def kind(address: str) -> type[Listener]:
    """Return the kind of listener that `address` means."""
    return next(each for each in _kinds if each.accepts(address))


def _text(address: object) -> object:
    if not isinstance(address, str):
        raise ValueError(NOT_AN_ADDRESS)
    return address


def _check(address: str) -> str:
    kind(address).check(address)
    return address


Address = Annotated[str, BeforeValidator(_text, json_schema_input_type=str), AfterValidator(_check)]

__all__ = ["BACKLOG", "NOT_AN_ADDRESS", "Address", "Factory", "ListenError", "Listener", "kind"]
