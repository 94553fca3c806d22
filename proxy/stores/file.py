"""Tokens in a file of the user's, shared by all processes on this machine that name the same one.

Blocking work runs in the store's one thread, in the order in which it was asked for: a hundred saves wait for
each other there, and not in the threads that others need.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

from filelock import FileLock

from proxy.errors import StoreError
from proxy.stores import Store, Token
from proxy.stores._cipher import Cipher
from proxy.stores._locks import TaskLocks, acquire
from proxy.stores._tokenfile import TokenFile

T = TypeVar("T")

_log = logging.getLogger(__name__)


def default_path() -> Path:
    """``$XDG_STATE_HOME/countersign/tokens.json``; ``~/.local/state`` if that is not set or relative.

    Raises:
        StoreError: this user has no home directory.

    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        base = state if state.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        raise StoreError("this user has no home directory; set tokens.path") from None
    return base / "countersign" / "tokens.json"


class FileStore(Store):
    """``store = "file"``: all tokens in the file `path`, encrypted if there is a `key`.

    `warn` is told of what is not fatal: a damaged file was set aside. It may be called in another thread.
    """

    scheme: ClassVar[str] = "file"

    def __init__(
        self,
        path: Path,
        key: bytes | None = None,
        warn: Callable[[str], None] = _log.warning,
    ) -> None:
        # Absolute, so that it stays the same file whatever the working directory becomes.
        self._path = path.expanduser().absolute()
        self._file = TokenFile(self._path, None if key is None else Cipher(key), warn)
        self._locks = TaskLocks()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="token-store")

    @classmethod
    def create(cls, path: Path, key: bytes | None, warn: Callable[[str], None]) -> FileStore:
        """As `Store.create`."""
        return cls(path, key, warn)

    def __repr__(self) -> str:
        return f"FileStore({self._path})"

    async def load(self, name: str) -> Token | None:
        """As `Store.load`."""
        return (await self._tokens()).get(name)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`."""
        await _whatever_comes(self._begin(lambda: self._file.put(name, token)))

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        await _whatever_comes(self._begin(lambda: self._file.put(name, None)))

    async def names(self) -> list[str]:
        """As `Store.names`."""
        return sorted(await self._tokens())

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`; everyone on this machine is excluded who uses the same path."""
        return self._locked(name)

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _tokens(self) -> Mapping[str, Token]:
        known = self._file.unchanged()
        return await self._begin(self._file.read) if known is None else known

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
                held.release()

    async def _kernel_lock(self, name: str) -> FileLock:
        try:
            self._file.make_folder()
            return await acquire(self._lock_path(name))
        except OSError as failure:
            text = f"the token store {self._path} can't be locked: {failure.strerror}"
            raise StoreError(text) from None

    def _lock_path(self, name: str) -> Path:
        # A hash, since a name may hold a slash, be too long, or differ from another in case only.
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return self._path.with_name(f"{self._path.name}.lock-{digest}")


async def _whatever_comes(work: asyncio.Future[T]) -> T:
    """Wait for `work` to end even when cancelled, so that no lock is given up while it is still going on."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as cancel:
            cancelled = cancel
    if cancelled is None:
        return work.result()
    work.exception()  # or asyncio logs that nobody looked at it
    raise cancelled
