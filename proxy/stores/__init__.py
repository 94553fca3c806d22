"""Where tokens are kept between one renewal and the next: a store a file.

A store keeps and locks. When a token is renewed, and whether it is still good, is not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar, Self

from proxy.stores._token import Token


class Store(ABC):
    """Tokens by the name of their credential; any text is a name.

    Attributes:
        scheme: what selects it in ``tokens.store``: the whole value, or its URL's scheme.

    """

    scheme: ClassVar[str]

    @classmethod
    @abstractmethod
    def create(cls, path: Path, key: bytes | None, warn: Callable[[str], None]) -> Self:
        """Make one.

        Args:
            path: where a store that is a file has it.
            key: encrypts what leaves the process, or None.
            warn: told of what is not fatal; may be called in another thread.

        """

    @abstractmethod
    async def load(self, name: str) -> Token | None:
        """Return the token last saved under `name` by anyone, or None. Cheap when nothing changed.

        Raises:
            StoreError: the store can't be read.

        """

    @abstractmethod
    async def save(self, name: str, token: Token) -> None:
        """Keep `token`; it is durable when this returns. A cancelled call still completes before it ends.

        Raises:
            StoreError: the store can't be written. What it held is still there.

        """

    @abstractmethod
    async def forget(self, name: str) -> None:
        """Drop what is kept under `name`, if anything is; otherwise as `save`."""

    @abstractmethod
    async def names(self) -> list[str]:
        """All names that have a token, sorted; otherwise as `load`."""

    @abstractmethod
    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """Exclude everyone else who shares this store from `name`: load, renew and save inside it.

        Waits as long as it takes, without blocking the event loop; may be cancelled. It is not reentrant.
        A holder that dies has released it.

        Raises:
            StoreError: the lock can't be had at all.

        """

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what is under way. Nothing else may be called afterwards."""


__all__ = ["Store", "Token"]
