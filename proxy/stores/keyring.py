"""Tokens in the user's keyring.

A keyring can't be listed, locked or watched: for that there is a file beside where a file store would be. It is
a file store of its own, which has a random text in place of each token.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from proxy import keyrings
from proxy.errors import ConfigError, StoreError
from proxy.stores import Setup, Store, Token
from proxy.stores._cipher import Cipher
from proxy.stores._format import DamagedError, decode, encode
from proxy.stores._locks import whatever_comes
from proxy.stores.file import FileStore
from proxy.threads import Threads

T = TypeVar("T")

SERVICE = "countersign"
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}")


class KeyringStore(Store):
    """``store = "keyring"``."""

    schemes: ClassVar[tuple[str, ...]] = ("keyring",)

    def __init__(self, setup: Setup) -> None:
        self._index = FileStore(replace(setup, path=setup.path.with_name(f"{setup.path.name}.keyring"), keys=()))
        self._cipher = Cipher(setup.keys) if setup.keys else None
        self._warn = setup.warn
        self._thread = Threads("token-store")  # keys take long to derive
        self._failure = ""

    @classmethod
    def create(cls, setup: Setup) -> KeyringStore:
        """As `Store.create`."""
        try:
            keyrings.library()
        except keyrings.KeyringError as failure:
            raise ConfigError(f"tokens.store: keyring {failure}") from None
        return cls(setup)

    def __repr__(self) -> str:
        return f"KeyringStore({self._index!r})"

    async def load(self, name: str) -> Token | None:
        """As `Store.load`; some milliseconds."""
        text = await self._told(keyrings.password(SERVICE, _username(name)))
        if text is None:
            return None
        try:
            tokens = await self._worked(lambda: decode(text.encode(), self._cipher))
        except StoreError as failure:
            raise StoreError(f"the keyring's entry {_username(name)} {failure}") from None
        except DamagedError as damage:
            self._warn(f"the keyring's entry {_username(name)} {damage}; the next token takes its place")
            return None
        return tokens.get(name)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`."""
        await whatever_comes(asyncio.ensure_future(self._save(name, token)))

    async def _save(self, name: str, token: Token) -> None:
        await self.load(name)  # what needs another key must not be overwritten
        content = await self._worked(lambda: encode({name: token}, self._cipher))
        await self._told(keyrings.keep(SERVICE, _username(name), content.decode()))
        await self._index.save(name, Token(secrets.token_hex(8), None))

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        await whatever_comes(asyncio.ensure_future(self._forget(name)))

    async def _forget(self, name: str) -> None:
        await self.load(name)
        await self._told(keyrings.drop(SERVICE, _username(name)))
        await self._index.forget(name)

    async def names(self) -> list[str]:
        """As `Store.names`: of the tokens that were saved on this machine."""
        return await self._index.names()

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`; everyone on this machine is excluded who uses the same path."""
        return self._index.lock(name)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """As `Store.watch`."""
        return self._index.watch(changed)

    def trouble(self) -> str | None:
        """As `Store.trouble`."""
        return self._failure or self._index.trouble()

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self._index.aclose()
        self._thread.shutdown()

    async def _worked(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _told(self, work: Coroutine[Any, Any, T]) -> T:  # Any: as asyncio has it
        try:
            result = await work
        except keyrings.KeyringError as failure:
            self._failure = f"the keyring {failure}"
            raise StoreError(self._failure) from None
        self._failure = ""
        return result


def _username(name: str) -> str:
    """Return a text for `name` that every keyring takes, the same if possible."""
    if _PLAIN.fullmatch(name):
        return name
    return "sha256:" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
