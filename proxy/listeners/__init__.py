"""Where clients come in: a kind of address a file.

An address is text, ``127.0.0.1:8080`` or ``unix:/run/countersign.sock``; the kind that accepts it opens it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from proxy import plugins
from proxy.errors import CountersignError
from proxy.gateway import Entrance

Factory = Callable[[Entrance], Callable[[], asyncio.Protocol]]
BACKLOG = 1024


class ListenError(CountersignError):
    """An address can't be listened on."""


class Listener(ABC):
    """An open address.

    Attributes:
        entrance: what requests that come in here are told by.
        server: the event loop's.

    """

    scheme: ClassVar[str]
    entrance: Entrance
    server: asyncio.Server

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
    async def open(cls, address: str, factory: Factory) -> Listener:
        """Listen.

        Raises:
            ListenError: the address is taken, not ours, or not allowed.

        """

    @property
    @abstractmethod
    def shown(self) -> str:
        """The address as users can use it."""

    async def close(self) -> None:
        """Accept nobody any more; those who are in stay."""
        self.server.close()


_kinds = plugins.members("proxy.listeners", Listener)


def kind(address: str) -> type[Listener]:
    """Return the kind of listener that `address` means."""
    return next(each for each in _kinds if each.accepts(address))


def _check(address: str) -> str:
    kind(address).check(address)
    return address


Address = Annotated[str, AfterValidator(_check)]

__all__ = ["BACKLOG", "Address", "Factory", "ListenError", "Listener", "kind"]
