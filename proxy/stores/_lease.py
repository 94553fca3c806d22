"""A lock on a redis server: it ends by itself some seconds after its holder did, and is renewed while that lives.

A holder whose machine slept may have lost it without knowing, so what is written under it is checked once more.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Self

from proxy.errors import StoreError
from proxy.stores._locks import FIRST_PAUSE, LONGEST_PAUSE
from proxy.stores._redis import Link

LIFE = 5.0  # seconds that it outlives its holder
RENEWED = LIFE / 4  # seconds after which it is renewed

_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0"


class Lease:
    """The lock `key`, for one holder.

    Attributes:
        owner: names the holder in redis, as nobody else does.
        seen: what the holder has read under it, None if it has not.

    """

    def __init__(self, link: Link, key: bytes) -> None:
        self._link = link
        self.key = key
        self.owner = secrets.token_hex(16)
        self.seen: bytes | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Wait until it is had.

        Raises:
            StoreError: the server is away.

        """
        try:
            pause = FIRST_PAUSE
            while not await self._link("SET", self.key, self.owner, "NX", "PX", _milliseconds()):
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        except BaseException:
            await self._release()  # its answer may have been lost
            raise
        self._renewing = asyncio.create_task(self._renew(), name="renewal of a lock")
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Let others in."""
        assert self._renewing is not None
        self._renewing.cancel()
        await self._release()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWED)
            with suppress(StoreError):  # there may be time for another try
                await self._link("EVAL", _RENEW, 1, self.key, self.owner, _milliseconds())

    async def _release(self) -> None:
        with suppress(StoreError):  # then it ends by itself
            await self._link("EVAL", _RELEASE, 1, self.key, self.owner)


def _milliseconds() -> int:
    return int(LIFE * 1000)
