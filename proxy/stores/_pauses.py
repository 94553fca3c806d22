"""Pauses that an API has asked one process for, told to all who use the same redis server and database.

At best effort: while the server is away, each process keeps to what it was told itself. Times go over as what is
left of them, since clocks differ.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from functools import partial

from proxy.errors import StoreError
from proxy.stores._redis import Link
from proxy.stores._watchers import Watchers

PAUSE = b"countersign:pause:"
STEP = 0.1  # seconds by which a pause has to grow for others to be told again
LONGEST = 86400.0  # seconds
_DIGITS = re.compile(rb"\d{1,15}")
MOST = 1024  # pauses that are remembered before those that are over are dropped

_SHARE = """
if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[1])
  redis.call('publish', ARGV[3], ARGV[2] .. ' ' .. ARGV[1] .. ' ' .. ARGV[4])
end
"""


class Pauses:
    """What `Store.share_pause` and `Store.watch_pauses` are by redis."""

    def __init__(self, link: Link, warn: Callable[[str], None]) -> None:
        self._link = link
        self._own = secrets.token_hex(8)
        self._channel = f"countersign:{link.database}:paused"
        follow = partial(link.follow, self._channel, self._begin, self._hear)
        self._watchers: Watchers[[str, float]] = Watchers(follow, warn)
        self._told: dict[str, float] = {}  # loop time until which others have been told to wait
        self._telling: set[asyncio.Task[None]] = set()

    def share(self, name: str, seconds: float) -> None:
        """As `Store.share_pause`."""
        now = asyncio.get_running_loop().time()
        until = now + min(seconds, LONGEST)
        if until - self._told.get(name, 0.0) < STEP:
            return
        if len(self._told) >= MOST:  # pauses of single paths have ever new names
            self._told = {name: until for name, until in self._told.items() if until > now}
        self._told[name] = until
        telling = asyncio.create_task(self._share(name, min(seconds, LONGEST)), name="telling of a pause")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _share(self, name: str, seconds: float) -> None:
        milliseconds = max(1, int(seconds * 1000))
        try:
            await self._link("EVAL", _SHARE, 1, PAUSE + name.encode(), milliseconds, self._own, self._channel, name)
        except StoreError:
            self._told.pop(name, None)  # nobody heard of it

    def watch(self, paused: Callable[[str, float], None]) -> Callable[[], None]:
        """As `Store.watch_pauses`."""
        return self._watchers.add(paused)

    async def _begin(self) -> None:
        """Hear of the pauses that began before."""
        for key in await self._link.keys(PAUSE):
            left = await self._link("PTTL", key)
            try:
                self._tell(key.removeprefix(PAUSE), left)
            except UnicodeDecodeError:
                self._link.ignored("a key that is not UTF-8")

    def _hear(self, data: bytes) -> None:
        """Take a message; raises ValueError if it is malformed."""
        owner, milliseconds, name = data.split(b" ", 2)
        if not _DIGITS.fullmatch(milliseconds):
            raise ValueError
        if owner.decode() != self._own:
            self._tell(name, int(milliseconds))

    def _tell(self, name: bytes, milliseconds: int) -> None:
        if milliseconds > 0:
            self._watchers.tell(name.decode(), min(milliseconds / 1000, LONGEST))

    async def aclose(self) -> None:
        """Tell and hear no more."""
        await self._watchers.aclose()
        await asyncio.gather(*self._telling)
