"""Tokens for as long as the process lives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import ClassVar

from proxy.stores import Store, Token
from proxy.stores._locks import TaskLocks


class MemoryStore(Store):
    """``store = "memory"``. Its lock excludes the tasks of one event loop."""

    scheme: ClassVar[str] = "memory"

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._locks = TaskLocks()

    @classmethod
    def create(cls, path: Path, key: bytes | None, warn: Callable[[str], None]) -> MemoryStore:  # noqa: ARG003
        """As `Store.create`."""
        return cls()

    async def load(self, name: str) -> Token | None:
        """As `Store.load`."""
        return self._tokens.get(name)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`, durable while the process lives."""
        self._tokens[name] = token

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        self._tokens.pop(name, None)

    async def names(self) -> list[str]:
        """As `Store.names`."""
        return sorted(self._tokens)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`."""
        return self._locks.of(name)

    async def aclose(self) -> None:
        """As `Store.aclose`; there is nothing to finish."""
