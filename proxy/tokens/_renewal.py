"""One renewal: under the store's lock, by the newest refresh token that is known, saved before it is used.

Whoever held the lock before may have left a token, so the store is read again inside it. Who waits for the
result, and how long nobody asks again, is not decided here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from proxy.errors import CredentialError, ProxyError, StoreError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens import Tokens
from proxy.tokens.endpoint import Refused

WAITS = (0.1, 0.9, 2.0, 7.0)  # seconds for the store's lock, which others hold for as long as an endpoint may take
LONG = 3.0  # seconds that are enough where no refresh token is at stake
REPEATS = (0.25, 1.0)  # seconds before an endpoint that failed is asked again, half to one and a half times
BRIEF = 5.0  # seconds after which a failure is not repeated
REMEMBERED = 16  # refused tokens that are known as such
_BEGIN_ANEW = frozenset({"invalid_grant", "unauthorized_client", "unsupported_grant_type"})

Key = Callable[[], Awaitable[str]]
Fetch = Callable[[Token | None], Awaitable[Token]]


class Renewal:
    """How the tokens of one credential are got, whoever gets them.

    Args:
        name: the credential's, for people.
        key: names the token in the store.
        fetch: gets a token, by the refresh token of the last one if there is such a one.

    Attributes:
        stored_as: what names the token in the store; empty before the first look there.
        unsaved: why the newest token is not in the store; empty if it is.

    """

    def __init__(self, name: str, key: Key, fetch: Fetch, tokens: Tokens) -> None:
        self._name = name
        self._key = key
        self._fetch = fetch
        self._tokens = tokens
        self._clock = tokens.clock
        self._newest: Token | None = None  # the last one known, refused or not: its refresh token is the one to use
        self._dead: deque[str] = deque(maxlen=REMEMBERED)
        self.stored_as = ""
        self.unsaved = ""

    def refused(self, token: Token) -> None:
        """Remember that the API does not take `token`."""
        if token.access_token not in self._dead:
            self._dead.append(token.access_token)

    async def look(self, current: Token | None) -> Token | None:
        """Return the store's token if it is another than `current`, and can be used.

        Raises:
            SecretError: a secret that its name in the store depends on can't be had.

        """
        try:
            stored = await self._tokens.store.load(await self._named())
        except StoreError:
            return None  # it is said when a token is needed
        return self._another(self._newer(stored), current)

    async def is_forgotten(self) -> bool:
        """Whether somebody has taken the newest token out of the store; then it is not known here, either.

        Raises:
            SecretError: as `look`.

        """
        newest = self._newest
        if newest is None or self.unsaved:
            return False
        try:
            stored = await self._tokens.store.load(await self._named())
        except StoreError:
            return False
        if stored is not None or self._newest is not newest:
            return False
        self._newest = None
        return True

    async def __call__(self, current: Token | None) -> Token:
        """Return another token than `current`.

        Raises:
            ProxyError: there is none.
            SecretError: a secret can't be had.

        """
        key = await self._named()
        token: Token | None = None
        try:
            async with AsyncExitStack() as held:
                token = await self._lock(held, key, current) or await self._renew(key, current)
        except StoreError as failure:
            self._warn(f"{failure}; tokens serve from memory")
        return token or await self._renew(key, current)

    async def _lock(self, held: AsyncExitStack, key: str, current: Token | None) -> Token | None:
        """Take the store's lock, or return what others have saved meanwhile, whether they let go of it or not."""
        waited = 0.0
        for patience in WAITS:
            try:
                async with asyncio.timeout(patience):
                    await held.enter_async_context(self._tokens.store.lock(key))
                    return None
            except TimeoutError:
                waited += patience
            known = await self._load(key)
            if another := self._another(known, current):
                return another
            if waited >= LONG and known is not None and known.refresh_token is None:
                self._warn(f"another process has held the token's lock for {waited:g} s; going on without it")
                return None  # two tokens do no harm, a refresh token that is sent twice would
        raise TokenEndpointDown(f"another process has held the token's lock for {waited:g} s")

    async def _renew(self, key: str, current: Token | None) -> Token:
        known = await self._load(key)
        if another := self._another(known, current):
            return another
        occasion = self._occasion(known)
        try:
            token, is_new = await self._obtain(key, known, current)
            if is_new:
                await self._save(key, token)
                self._tokens.renewed(self._name, "success")
                self._tokens.debug(f"credential {self._name}: {occasion}")
            return token
        except ProxyError as failure:
            self._tokens.renewed(self._name, "refused" if isinstance(failure, CredentialError) else "unavailable")
            raise

    def _occasion(self, known: Token | None) -> str:
        """Say why another token than the one that is known is obtained."""
        if known is None:
            return "obtained a token"
        if known.access_token in self._dead:
            return "renewed, since the API refused the last token"
        left = 0.0 if known.expires_at is None else known.expires_at - self._clock.time()
        return (
            f"renewed early, {left:.0f} s before the token expires" if left > 0 else "renewed after the token expired"
        )

    # -- the endpoint --------------------------------------------------------------------------------

    async def _obtain(self, key: str, known: Token | None, current: Token | None) -> tuple[Token, bool]:
        """Return a token, and whether the endpoint gave it."""
        refresh_token = known.refresh_token if known else None
        try:
            return await self._ask(known), True
        except Refused as failure:
            if refresh_token is None or failure.code not in _BEGIN_ANEW:
                raise
            refusal = failure.problem
        # A login needs no lock, and the lock of others may have been lost: perhaps somebody was quicker.
        known = await self._load(key)
        if another := self._another(known, current):
            return another, False
        if known is not None and known.refresh_token != refresh_token:
            return await self._ask(known), True
        return await self._begin_anew(refusal), True

    async def _begin_anew(self, refusal: str) -> Token:
        """Get a token without the refresh token that was refused; what the server said is shown if there is none."""
        try:
            return await self._ask(None)
        except Refused:
            raise
        except CredentialError as failure:
            problem = f"{failure.detail} ({refusal})"
        raise CredentialError(problem)

    async def _ask(self, known: Token | None) -> Token:
        """Ask the endpoint; one that fails is asked again, at most once if the first answer may have been lost."""
        begun, lost = self._clock.monotonic(), 0
        for pause in REPEATS:
            try:
                return await self._asked(known)
            except TokenEndpointDown as failure:
                lost += failure.sent
                told_to_wait = failure.retry_after is not None
                if told_to_wait or not failure.repeatable or lost > 1 or self._clock.monotonic() - begun > BRIEF:
                    raise
            await self._clock.sleep(pause * (0.5 + self._tokens.random.random()))
        return await self._asked(known)

    async def _asked(self, known: Token | None) -> Token:
        token = await self._fetch(known)
        if token.access_token in self._dead:
            self._dead.remove(token.access_token)  # the server says that it is good
        if token.refresh_token is None and known is not None and known.refresh_token is not None:
            return token.with_refresh_token(known.refresh_token)  # not rotated, it stays good (RFC 6749, section 6)
        return token

    # -- the store -----------------------------------------------------------------------------------

    async def _named(self) -> str:
        self.stored_as = await self._key()
        return self.stored_as

    def _another(self, known: Token | None, current: Token | None) -> Token | None:
        """Return `known` if it can be used and is not `current`."""
        if known is None or known.access_token in self._dead:
            return None
        if current is not None and known.access_token == current.access_token:
            return None
        is_over = known.expires_at is not None and known.expires_at <= self._clock.time()
        return None if is_over else known

    async def _load(self, key: str) -> Token | None:
        """Return the newest token that is known: the store's, unless it could not be read or written."""
        try:
            stored = await self._tokens.store.load(key)
        except StoreError as failure:
            self._warn(str(failure))
            return self._newest
        return self._newer(stored)

    def _newer(self, stored: Token | None) -> Token | None:
        newest = self._newest
        if stored is None or (self.unsaved and newest is not None and stored.obtained_at <= newest.obtained_at):
            return newest
        if newest is None or stored.obtained_at >= newest.obtained_at:
            self._newest, self.unsaved = stored, ""
        return stored

    async def _save(self, key: str, token: Token) -> None:
        # Before it is used: a rotated refresh token that is lost in a crash can't be had again.
        self._newest = token
        try:
            await self._tokens.store.save(key, token)
            self.unsaved = ""
        except StoreError as failure:
            self.unsaved = str(failure)
            self._warn(f"{failure}; it serves from memory")

    def _warn(self, text: str) -> None:
        self._tokens.warn(f"credential {self._name}: {text}")
