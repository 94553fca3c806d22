"""Tokens for as long as the process lives."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from proxy.stores import Setup, Store, Token
from proxy.stores._locks import TaskLocks


class MemoryStore(Store):
    """``store = "memory"``. Its lock excludes the tasks of one event loop."""

    schemes: ClassVar[tuple[str, ...]] = ("memory",)

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._watching: list[Callable[[str], None]] = []
        self._locks = TaskLocks()

    @classmethod
    def create(cls, setup: Setup) -> MemoryStore:  # noqa: ARG003  # needs nothing
        """As `Store.create`."""
        return cls()

    async def load(self, name: str) -> Token | None:
        """As `Store.load`."""
        return self._tokens.get(name)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`, durable while the process lives."""
        self._tokens[name] = token
        self._tell(name)

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        if self._tokens.pop(name, None) is not None:
            self._tell(name)

    async def names(self) -> list[str]:
        """As `Store.names`."""
        return sorted(self._tokens)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`."""
        return self._locks.of(name)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """As `Store.watch`; told at once."""
        for name in self._tokens:
            changed(name)
        self._watching.append(changed)
        return lambda: self._watching.remove(changed) if changed in self._watching else None

    def _tell(self, name: str) -> None:
        for changed in self._watching[:]:
            changed(name)

    async def aclose(self) -> None:
        """As `Store.aclose`; there is nothing to finish."""
