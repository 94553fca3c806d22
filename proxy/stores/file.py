"""Tokens in a file of the user's, shared by all processes on this machine that name the same one.

Blocking work runs in the store's one thread, in the order in which it was asked for: a hundred saves wait for
each other there, and not in the threads that others need.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from proxy.errors import StoreError
from proxy.stores import Setup, Store, Token
from proxy.stores._cipher import Cipher
from proxy.stores._locks import TaskLocks, acquire, whatever_comes
from proxy.stores._tokenfile import TokenFile
from proxy.stores._watchers import Watchers
from proxy.threads import Threads

if TYPE_CHECKING:
    from filelock import FileLock

T = TypeVar("T")

PAUSE = 1.0
"""Seconds between two looks at a file that is watched."""

PATIENCE = 30.0
"""Seconds that a disk, and what was asked of the store before, may take until the file is read."""


class FileStore(Store):
    """``store = "file"``: all tokens in the file `Setup.path`, encrypted if there is a key."""

    schemes: ClassVar[tuple[str, ...]] = ("file",)

    def __init__(self, setup: Setup) -> None:
        # Absolute, so that it stays the same file whatever the working directory becomes.
        self._path = setup.path.expanduser().absolute()
        self._file = TokenFile(self._path, Cipher(setup.keys) if setup.keys else None, setup.warn)
        self._locks = TaskLocks()
        self._thread = Threads("token-store")
        self._watchers: Watchers[[str]] = Watchers(self._look, setup.warn)
        self._unread = self._unwritten = ""

    @classmethod
    def create(cls, setup: Setup) -> FileStore:
        """As `Store.create`."""
        return cls(setup)

    def __repr__(self) -> str:
        return f"FileStore({self._path})"

    async def load(self, name: str) -> Token | None:
        """As `Store.load`."""
        return (await self._tokens()).get(name)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`."""
        await self._put(name, token)

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        await self._put(name, None)

    async def names(self) -> list[str]:
        """As `Store.names`."""
        return sorted(await self._tokens())

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`; everyone on this machine is excluded who uses the same path."""
        return self._locked(name)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """As `Store.watch`: looks at the file's date once a second."""
        return self._watchers.add(changed)

    def trouble(self) -> str | None:
        """As `Store.trouble`: what failed last time it was tried."""
        return self._unwritten or self._unread or None

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self._watchers.aclose()
        with suppress(StoreError):  # it is closed already
            through = self._begin(lambda: None)
            self._thread.shutdown()
            await through

    async def _put(self, name: str, token: Token | None) -> None:
        try:
            await whatever_comes(self._begin(lambda: self._file.put(name, token)))
        except StoreError as failure:
            self._unwritten = str(failure)
            raise
        self._unwritten = self._unread = ""

    async def _tokens(self) -> Mapping[str, Token]:
        try:
            async with asyncio.timeout(PATIENCE):
                tokens = await self._begin(self._file.current)
        except TimeoutError:
            self._unread = f"the token store {self._path} can't be read: no result within {PATIENCE:g} s"
            raise StoreError(self._unread) from None
        except StoreError as failure:
            self._unread = str(failure)
            raise
        self._unread = ""
        return tokens

    async def _look(self) -> None:
        known: Mapping[str, Token] = {}
        while True:
            try:
                known = await self._changes(known)
            except StoreError:
                pass  # whoever needs the token is told
            except Exception as failure:  # noqa: BLE001  # what was known before is still needed
                self._watchers.failed(failure)
            await asyncio.sleep(PAUSE)

    async def _changes(self, known: Mapping[str, Token]) -> Mapping[str, Token]:
        """Tell the names whose tokens are not as they were `known`, and return what is there now."""
        tokens = await self._tokens()
        forgotten = known.keys() - tokens.keys()
        if forgotten and not await self._begin(self._file.is_there):
            forgotten = set()
        for name in tokens.keys() | forgotten:
            if known.get(name) != tokens.get(name):
                self._watchers.tell(name)
        return tokens

    def _begin(self, work: Callable[[], T]) -> asyncio.Future[T]:
        try:
            return asyncio.wrap_future(self._thread.submit(work))
        except RuntimeError:
            raise StoreError(f"the token store {self._path} is closed") from None

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        # The tasks of this process queue in memory, so that only one of them asks the kernel.
        async with self._locks.of(name):
            held = await self._kernel_lock(name)
            try:
                self._file.distrust()
                yield
            finally:
                await self._release(held)

    async def _kernel_lock(self, name: str) -> FileLock:
        try:
            await self._begin(self._file.make_folder)
            return await acquire(self._lock_path(name), self._thread)
        except OSError as failure:
            text = f"the token store {self._path} can't be locked: {failure.strerror}"
            raise StoreError(text) from None

    async def _release(self, held: FileLock) -> None:
        try:
            releasing = self._begin(held.release)
        except StoreError:  # it was closed meanwhile
            held.release()
        else:
            await asyncio.shield(releasing)

    def _lock_path(self, name: str) -> Path:
        # A hash, since a name may hold a slash, be too long, or differ from another in case only.
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self._path.with_name(f"{self._path.name}.lock-{digest}")
