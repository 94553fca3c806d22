"""One credential's tokens: fetched once however many want them, renewed early, stored before they are used.

Which token was refused decides about a renewal, not the clock. A renewal belongs to nobody's request: it is
a task of its own that the one who asked first can't cancel. No lock is held while a request is under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeGuard

from proxy.errors import CredentialError, ProxyError, StoreError, TokenEndpointDown
from proxy.stores import Token
from proxy.tokens import Tokens
from proxy.tokens.endpoint import Refused

PART = 0.25  # of a token's life at most is left when it is renewed early
_BEGIN_ANEW = frozenset({"invalid_grant", "unauthorized_client", "unsupported_grant_type"})
REMEMBERED = 16  # refused tokens that are known as such
SHORTEST_REST, LONGEST_REST_DOWN, LONGEST_REST_REFUSED = 1.0, 30.0, 60.0

Fetch = Callable[[str | None], Awaitable[Token]]


class TokenSource:
    """Where the requests of one credential get their token from.

    Args:
        name: the credential's, for people.
        key: names the token in the store; it changes when the configuration does.
        fetch: gets a token, by the refresh token it is given or without one.
        refresh_before: seconds before its expiry at which a token is renewed.

    """

    def __init__(
        self,
        name: str,
        key: Callable[[], Awaitable[str]],
        fetch: Fetch,
        tokens: Tokens,
        refresh_before: float,
    ) -> None:
        self._name = name
        self._key = key
        self._fetch = fetch
        self._tokens = tokens
        self._clock = tokens.clock
        self._refresh_before = refresh_before
        self._token: Token | None = None
        self._newest: Token | None = None  # the last one had, refused or not: its refresh token is the one to use
        self._unsaved = False  # whether the newest is not in the store, which may hold an older one
        self._dead: deque[str] = deque(maxlen=REMEMBERED)
        self._renewal: asyncio.Task[Token] | None = None
        self._refused = False
        self._failure = ""
        self._failures = 0
        self._rest_until = 0.0

    @property
    def current(self) -> Token | None:
        """The token that it has, whatever it is worth."""
        return self._token

    async def token(self) -> Token:
        """Return a token that is not known to be dead.

        Raises:
            ProxyError: it can't be had.

        """
        token = self._token
        if token is None or self._is_over(token):
            return await self._renewed()
        if token.expires_at is not None and self._is_late(token) and not self._rests():
            self._start()
        return token

    async def renew(self, refused: Token) -> Token:
        """Return another token than the one that the API refused.

        Raises:
            ProxyError: it can't be had.

        """
        token = self._token
        if token is not None and token is not refused:
            return token  # a late 401: another request has renewed it already, if only to the same text
        if refused.access_token not in self._dead:
            self._dead.append(refused.access_token)
        self._token = None
        return await self._renewed()

    # -- when ----------------------------------------------------------------------------------------

    def _is_over(self, token: Token) -> bool:
        return token.expires_at is not None and token.expires_at <= self._clock.time()

    def _is_late(self, token: Token) -> bool:
        assert token.expires_at is not None
        life = token.expires_at - token.obtained_at
        return token.expires_at - self._clock.time() <= min(self._refresh_before, life * PART)

    def _rests(self) -> bool:
        return self._clock.monotonic() < self._rest_until

    def _usable(self, token: Token | None) -> TypeGuard[Token]:
        return token is not None and token.access_token not in self._dead and not self._is_over(token)

    # -- once ----------------------------------------------------------------------------------------

    async def _renewed(self) -> Token:
        if self._renewal is None and self._rests():
            await self._look_into_store()
            if self._usable(self._token):
                return self._token
            if self._rests():
                raise self._resting()
        return await asyncio.shield(self._start())

    def _start(self) -> asyncio.Task[Token]:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(), name=f"renewal of {self._name}")
            self._renewal.add_done_callback(self._ended)
        return self._renewal

    def _ended(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()  # whoever waited has it; nobody did if it was early

    def _resting(self) -> ProxyError:
        """Return the failure that is remembered, with the rest of the pause.

        A new one each time: an exception that is raised again grows by a traceback, and keeps what stands in it.
        """
        if self._refused:
            return CredentialError(self._failure)
        return TokenEndpointDown(self._failure, retry_after=self._rest_until - self._clock.monotonic())

    async def _renew(self) -> Token:
        """Renew under the store's lock; who held it before us may have left a token."""
        key = await self._key()
        token: Token | None = None
        try:
            async with self._tokens.store.lock(key):
                token = await self._renew_locked(key)
        except StoreError as failure:
            self._tokens.warn(f"credential {self._name}: {failure}; tokens serve from memory")
        return token or await self._renew_locked(key)

    async def _renew_locked(self, key: str) -> Token:
        known = await self._load(key)
        if self._usable(known) and not self._is_same(known):
            return self._succeeded(known)
        return await self._obtain(key, known)

    def _is_same(self, stored: Token) -> bool:
        return self._token is not None and stored.access_token == self._token.access_token

    async def _obtain(self, key: str, old: Token | None) -> Token:
        try:
            token = await self._fetched(old)
        except ProxyError as failure:
            self._failed(failure)
            raise
        if token.access_token in self._dead:
            self._dead.remove(token.access_token)  # the server says that it is good
        try:
            # Before it is used: a rotated refresh token that is lost in a crash can't be had again.
            await self._tokens.store.save(key, token)
            self._unsaved = False
        except StoreError as failure:
            self._unsaved = True
            self._tokens.warn(f"credential {self._name}: {failure}; the token serves from memory")
        self._tokens.renewed(self._name, "success")
        return self._succeeded(token)

    async def _fetched(self, old: Token | None) -> Token:
        if old is None or old.refresh_token is None:
            return await self._fetch(None)
        try:
            token = await self._fetch(old.refresh_token)
        except Refused as failure:
            if failure.code not in _BEGIN_ANEW:
                raise
        else:
            # Not rotated: the old one stays good (RFC 6749, section 6).
            return token if token.refresh_token is not None else token.with_refresh_token(old.refresh_token)
        return await self._fetch(None)  # the refresh token is dead; begin anew where the grant can

    def _succeeded(self, token: Token) -> Token:
        self._token = self._newest = token
        self._failures = 0
        self._rest_until = 0.0
        return token

    def _failed(self, failure: ProxyError) -> None:
        self._refused = isinstance(failure, CredentialError)
        self._failure = failure.detail
        longest = LONGEST_REST_REFUSED if self._refused else LONGEST_REST_DOWN
        rest = max(min(SHORTEST_REST * 2**self._failures, longest), min(failure.retry_after or 0, longest))
        self._failures = min(self._failures + 1, 10)
        self._rest_until = self._clock.monotonic() + rest
        if not self._refused:
            failure.retry_after = max(failure.retry_after or 0, rest)  # before that nobody is asked again
        self._tokens.renewed(self._name, "refused" if self._refused else "unavailable")

    # -- the store -----------------------------------------------------------------------------------

    async def _look_into_store(self) -> None:
        """While resting: a login, or another process, may have put a token there."""
        known = await self._load(await self._key())
        if self._usable(known) and self._rests():
            self._succeeded(known)

    async def _load(self, key: str) -> Token | None:
        """Return the newest token that is known: the store's, unless it could not be read or written."""
        stored: Token | None = None
        try:
            stored = await self._tokens.store.load(key)
        except StoreError as failure:
            self._tokens.warn(f"credential {self._name}: {failure}")
        newest = self._newest
        if stored is None or (self._unsaved and newest is not None and stored.obtained_at <= newest.obtained_at):
            return newest
        return stored

    async def aclose(self) -> None:
        """Let a renewal under way come to its end: its answer may hold a rotated refresh token."""
        if self._renewal is not None:
            await asyncio.wait([self._renewal])
