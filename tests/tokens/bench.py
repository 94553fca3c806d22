"""A source of tokens with everything around it, for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import httpx
import pytest

from proxy.errors import ProxyError, StoreError, TokenEndpointDown
from proxy.stores import Token
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.tokens.source import TokenSource
from tests.doubles import FakeClock


class StillClock(FakeClock):
    """One that stands still while somebody sleeps."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class NoChance(Random):
    """Everything happens as early as it may."""

    def random(self) -> float:
        return 0.0


def down() -> TokenEndpointDown:
    return TokenEndpointDown("the token endpoint answered 500", retry_after=1)


class BrittleStore(MemoryStore):
    """One that fails where it is told to, and notes what happens."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.events: list[str] = []
        self.saving: asyncio.Event | None = None

    def _happens(self, what: str) -> None:
        self.events.append(what)
        if what in self.broken:
            raise StoreError(f"can't {what}")

    async def load(self, name: str) -> Token | None:
        self._happens("load")
        return await super().load(name)

    async def save(self, name: str, token: Token) -> None:
        self._happens("save")
        if self.saving is not None:
            await self.saving.wait()
        await super().save(name, token)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        return self._locked(name)

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        self._happens("lock")
        async with super().lock(name):
            yield
        self._happens("unlock")


Step = Token | Exception | Callable[[], Awaitable[Token]]


@dataclass
class Bench:
    """A source with everything around it."""

    clock: FakeClock = field(default_factory=StillClock)
    store: BrittleStore = field(default_factory=BrittleStore)
    steps: list[Step] = field(default_factory=list)
    fetched: list[str | None] = field(default_factory=list)
    renewals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    debug: list[str] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.source = self.another()

    def another(self) -> TokenSource:
        """A source of the same credential in another process, as it were."""
        tokens = Tokens(
            self.store,
            self.clock,
            httpx.AsyncBaseTransport(),
            lambda credential, outcome: self.renewals.append(f"{credential} {outcome}"),
            self.warnings.append,
            NoChance(),
            debug=self.debug.append,
        )
        return TokenSource("api", self._key, self._fetch, tokens, 60)

    async def _key(self) -> str:
        return "key"

    async def _fetch(self, known: Token | None) -> Token:
        self.fetched.append(known.refresh_token if known else None)
        await asyncio.sleep(0)
        step = self.steps.pop(0) if self.steps else self.new()
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Token) else await step()

    def new(self, life: float | None = 3600, refresh_token: str | None = None) -> Token:
        self.count += 1
        now = self.clock.time()
        return Token(f"token-{self.count}", None if life is None else now + life, refresh_token, obtained_at=now)

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds)


async def text(token: Awaitable[Token]) -> str:
    return (await token).access_token


async def failure(token: Awaitable[Token]) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await token
    return caught.value
