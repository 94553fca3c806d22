"""Tokens on a redis server, shared by all processes on whatever machine that name the same one.

A token is a value of its own, encrypted if there is a key. Those who watch are told by what is published.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar

from proxy.errors import StoreError
from proxy.stores import Setup, Store, Token
from proxy.stores._cipher import Cipher
from proxy.stores._format import DamagedError, decode, encode
from proxy.stores._lease import Lease
from proxy.stores._locks import TaskLocks, whatever_comes
from proxy.stores._pauses import Pauses
from proxy.stores._redis import Link, is_exposed, options, shown
from proxy.stores._watchers import Watchers
from proxy.threads import Threads

T = TypeVar("T")

TOKEN, LOCK = b"countersign:token:", b"countersign:lock:"

# Under a lock that was lost, only what is still as it was read under it may be replaced.
_SAVE = """
local now = redis.call('get', KEYS[1]) or ''
if ARGV[1] ~= '' and redis.call('get', KEYS[2]) ~= ARGV[1] and now ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('del', KEYS[1]) else redis.call('set', KEYS[1], ARGV[3]) end
redis.call('publish', ARGV[4], ARGV[5])
return 1
"""


class RedisStore(Store):
    """``store = "redis://HOST:PORT/DB"``, ``rediss://`` or ``unix:///PATH``."""

    schemes: ClassVar[tuple[str, ...]] = ("redis://", "rediss://", "unix://")

    def __init__(self, setup: Setup) -> None:
        self._link = Link(setup.choice, setup.warn)
        self._where = f"the token store {shown(setup.choice)}"
        self._cipher = Cipher(setup.keys) if setup.keys else None
        self._warn = setup.warn
        self._locks = TaskLocks()
        self._leases: dict[str, Lease] = {}
        self._changed = f"countersign:{self._link.database}:changed"
        follow = partial(self._link.follow, self._changed, self._begin, self._hear)
        self._watchers: Watchers[[str]] = Watchers(follow, setup.warn)
        self._pauses = Pauses(self._link, setup.warn)
        self._thread = Threads("token-store")  # keys take long to derive
        self._unwritten = ""
        if self._cipher is None and is_exposed(setup.choice):
            setup.warn(
                f"{self._where} is sent tokens that everyone on the network can read; set tokens.key, or rediss://"
            )

    @classmethod
    def create(cls, setup: Setup) -> RedisStore:
        """As `Store.create`."""
        return cls(setup)

    @classmethod
    def check(cls, choice: str) -> None:
        """As `Store.check`."""
        options(choice)

    def __repr__(self) -> str:
        return f"RedisStore({self._where})"

    async def load(self, name: str) -> Token | None:
        """As `Store.load`; a question to the server."""
        raw = await self._raw(name)
        lease = self._leases.get(name)
        if lease is not None:
            lease.seen = raw
        return await self._decoded(name, raw)

    async def save(self, name: str, token: Token) -> None:
        """As `Store.save`, as durable as the server keeps it.

        Raises:
            StoreError: also if the lock was lost, and another holder has saved a token since.

        """
        await self._uncancelled(self._put(name, token))

    async def forget(self, name: str) -> None:
        """As `Store.forget`."""
        await self._uncancelled(self._put(name, None))

    async def names(self) -> list[str]:
        """As `Store.names`."""
        found = []
        for key in await self._link.keys(TOKEN):
            try:
                found.append(_text(key.removeprefix(TOKEN)))
            except UnicodeDecodeError:
                self._link.ignored("a key that is not UTF-8")
        return sorted(found)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """As `Store.lock`; everyone is excluded who uses the same server and database.

        A holder that dies keeps it for at most `_lease.LIFE` seconds more.
        """
        return self._locked(name)

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """As `Store.watch`: told at once by the server; after it was away, of all tokens there are."""
        return self._watchers.add(changed)

    def share_pause(self, name: str, seconds: float) -> None:
        """As `Store.share_pause`."""
        self._pauses.share(name, seconds)

    def watch_pauses(self, paused: Callable[[str, float], None]) -> Callable[[], None]:
        """As `Store.watch_pauses`."""
        return self._pauses.watch(paused)

    def trouble(self) -> str | None:
        """As `Store.trouble`."""
        return self._link.trouble or self._unwritten or None

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        await self._watchers.aclose()
        await self._pauses.aclose()
        await self._link.aclose()
        self._thread.shutdown()

    # -- one token -----------------------------------------------------------------------------------

    async def _raw(self, name: str) -> bytes:
        return await self._link("GET", TOKEN + _bytes(name)) or b""

    async def _decoded(self, name: str, raw: bytes) -> Token | None:
        """Return what a value holds. A damaged one is told, and holds nothing."""
        if not raw:
            return None
        try:
            return (await self._worked(lambda: decode(raw, self._cipher))).get(name)
        except StoreError as failure:
            raise StoreError(f"{self._where}: the token of {name} {failure}") from None
        except DamagedError as damage:
            self._warn(f"{self._where}: the token of {name} {damage}; the next one takes its place")
            return None

    async def _put(self, name: str, token: Token | None) -> None:
        lease = self._leases.get(name)
        await self._decoded(name, await self._raw(name))  # what needs another key must not be overwritten
        raw = b"" if token is None else await self._worked(lambda: encode({name: token}, self._cipher))
        owner, seen = (lease.owner, lease.seen or b"") if lease else ("", b"")
        keys = [TOKEN + _bytes(name), LOCK + _bytes(name)]
        try:
            is_saved = await self._link("EVAL", _SAVE, 2, *keys, owner, seen, raw, self._changed, _bytes(name))
        except StoreError as failure:
            self._unwritten = "" if self._link.trouble else str(failure)
            raise
        self._unwritten = ""
        if not is_saved:
            raise StoreError(f"{self._where}: the lock of {name} was lost, and another process has saved a newer token")
        if lease is not None:
            lease.seen = raw

    async def _worked(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _uncancelled(self, work: Coroutine[Any, Any, None]) -> None:  # Any: as asyncio has it
        await whatever_comes(asyncio.ensure_future(work))

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        # The tasks of this process queue in memory, so that only one of them asks the server.
        async with self._locks.of(name), Lease(self._link, LOCK + _bytes(name)) as lease:
            self._leases[name] = lease
            try:
                yield
            finally:
                del self._leases[name]

    # -- what others do ------------------------------------------------------------------------------

    async def _begin(self) -> None:
        for name in await self.names():
            self._watchers.tell(name)

    def _hear(self, data: bytes) -> None:
        self._watchers.tell(_text(data))


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
