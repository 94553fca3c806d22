"""The user's keyring: Keychain, Secret Service, Credential Locker and what else the library `keyring` knows.

Its calls block, and may wait for the user to unlock it: they run in a thread that nobody waits for at the end.
What a backend says is never repeated, since it may hold the secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

from proxy.threads import Threads

T = TypeVar("T")

PATIENCE = 30.0  # seconds; the user may be asked to unlock it
_threads = Threads("keyring")  # one: not all backends are made for threads


class KeyringError(Exception):
    """It can't be asked; the text is a predicate: ``is locked``."""


async def password(service: str, username: str) -> str | None:
    """Return what is kept for `username` under `service`, None if nothing is.

    Raises:
        KeyringError: it can't be asked.

    """
    return await _called(lambda: library().get_password(service, username))


async def keep(service: str, username: str, text: str) -> None:
    """Keep `text`; otherwise as `password`."""
    await _called(lambda: library().set_password(service, username, text))


async def drop(service: str, username: str) -> None:
    """Drop what is kept, if anything is; otherwise as `password`."""

    def dropped() -> None:
        if library().get_password(service, username) is not None:
            library().delete_password(service, username)

    await _called(dropped)


def library() -> ModuleType:
    """Return the library.

    Raises:
        KeyringError: it is not installed.

    """
    try:
        import keyring
    except ImportError:
        raise KeyringError("is not installed; right would be: pip install 'countersign-proxy[keyring]'") from None
    return keyring


async def _called(work: Callable[[], T]) -> T:
    def translated() -> T:
        try:
            return work()
        except Exception as raised:  # noqa: BLE001  # a backend's, of which there are many
            failure = _told(raised)
        raise failure  # outside: what a backend says is not its context

    try:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.wrap_future(_threads.submit(translated))
    except TimeoutError:
        raise KeyringError(f"does not answer within {PATIENCE:g} s; is it locked?") from None


def _told(failure: Exception) -> KeyringError:
    if isinstance(failure, KeyringError):
        return failure
    match type(failure).__name__:
        case "NoKeyringError":
            return KeyringError("is missing: there is none on this machine that the library knows")
        case "KeyringLocked":
            return KeyringError("is locked")
        case name:
            return KeyringError(f"failed with {name}")
