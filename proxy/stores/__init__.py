"""Where tokens are kept between one renewal and the next: a store a file.

A store keeps, locks and tells of changes. When a token is renewed, and whether it is still good, is not its
business.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from proxy import plugins
from proxy.stores._place import default_path
from proxy.stores._token import Token


@dataclass(frozen=True, slots=True)
class Setup:
    """What a store is made with; two that are equal make the same store.

    Attributes:
        path: where a store has its file, or what else it keeps on this machine.
        choice: ``tokens.store``: a word, or a URL with its password.
        keys: the first one encrypts what leaves the process, all of them decrypt; none to leave it plain.
        warn: told of what is not fatal; may be called in another thread.

    """

    path: Path
    choice: str = field(default="", repr=False)
    keys: tuple[bytes, ...] = field(default=(), repr=False)
    warn: Callable[[str], None] = logging.getLogger(__name__).warning


class Store(ABC):
    """Tokens by the name of their credential; any text is a name.

    Attributes:
        schemes: what selects it in ``tokens.store``: the whole value, or, if it ends in ``://``, a URL's scheme.

    """

    schemes: ClassVar[tuple[str, ...]]

    @classmethod  # noqa: B027  # of most stores there is but one
    def check(cls, choice: str) -> None:
        """Judge a ``tokens.store`` that selects this one.

        Raises:
            ValueError: it is malformed; the text says what would be right and does not repeat it.

        """

    @classmethod
    @abstractmethod
    def create(cls, setup: Setup) -> Self:
        """Make one.

        Raises:
            ConfigError: what it needs is not installed.

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
    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """Tell `changed` the names whose tokens were saved or forgotten, by whomever, this process included.

        It is called in the event loop that runs now, some 2 seconds after the change at the latest, also
        without need (so at first with every name there is), and must not raise. What is returned ends it.
        Tokens that are lost with all that a store held were not forgotten, and are not told.
        """

    def share_pause(self, name: str, seconds: float) -> None:  # noqa: B027  # most have nobody to tell
        """Tell others who share this store that nobody may call `name` for `seconds`: at best effort, and at once."""

    def watch_pauses(self, paused: Callable[[str, float], None]) -> Callable[[], None]:  # noqa: ARG002  # as above
        """Call `paused` with name and seconds for each pause that others share from now on, or have shared before.

        Otherwise as `watch`.
        """
        return lambda: None

    def trouble(self) -> str | None:
        """Return why tokens are not kept or shared at present, for people; None if all is well. Costs nothing."""
        return None

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what is under way. Nothing else may be called afterwards."""


def kinds() -> dict[str, type[Store]]:
    """All stores, by each of their schemes."""
    return {scheme: store for store in plugins.members("proxy.stores", Store) for scheme in store.schemes}


def kind(choice: str) -> type[Store] | None:
    """Return the store that a ``tokens.store`` selects, if there is such a one."""
    scheme, separator, _ = choice.partition("://")
    return kinds().get(scheme + separator)


def open_store(setup: Setup) -> Store:
    """Make the store of a `Setup`, whose choice has been checked.

    Raises:
        ConfigError: what it needs is not installed.

    """
    store = kind(setup.choice)
    assert store is not None
    return store.create(setup)


__all__ = ["Setup", "Store", "Token", "default_path", "kind", "kinds", "open_store"]
