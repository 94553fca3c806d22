"""The user's keyring: Keychain, Secret Service, Credential Locker and what else the library `keyring` knows.

Its calls block, and may wait for the user to unlock it: each runs in a thread that nobody waits for at the end.
What a backend says is never repeated, since it may hold the secret.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0  # seconds; the user may be asked to unlock it
_one_at_a_time = threading.Lock()  # not all backends are made for threads


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
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def end(result: T | None, failure: KeyringError | None) -> None:
        if done.done():
            return
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # T may be optional itself

    def run() -> None:
        result, failure = None, None
        try:
            with _one_at_a_time:
                result = work()
        except Exception as raised:  # noqa: BLE001  # a backend's, of which there are many
            failure = _told(raised)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(end, result, failure)

    threading.Thread(target=run, daemon=True, name="keyring").start()
    try:
        async with asyncio.timeout(PATIENCE):
            return await done
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
