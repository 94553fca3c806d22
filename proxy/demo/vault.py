"""The OAuth2 tokens that are out: short-lived access tokens, and refresh tokens that serve once.

All tokens that go back to one grant are a family. Who uses a refresh token a second time proves that it has
been copied, and the whole family is revoked (RFC 9700, section 4.14.2). No HTTP here.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from proxy.demo import accounts

LIFETIME: Final = 10  # seconds that an access token lives, at most
USES: Final = 5  # after so many uses an access token is revoked, however young
SCOPE: Final = "demo"  # what is granted to who asks for nothing in particular
MEMORY: Final = 10_000  # tokens of each kind that are remembered; older ones are unknown

_Token = TypeVar("_Token")


class TokenError(Exception):
    """A token is unknown, expired, revoked or used up; the text says which, but not its value."""


class ScopeError(Exception):
    """More was asked for than was granted."""


@dataclass
class Family:
    """The tokens that go back to one grant."""

    subject: str
    scope: str
    revoked: bool = False


@dataclass
class AccessToken:
    """An access token; expires at a time of the vault's clock."""

    family: Family
    expires: float
    uses: int = 0
    revoked: bool = False


@dataclass
class RefreshToken:
    """A refresh token, good for one use."""

    family: Family
    used: bool = False


@dataclass(frozen=True)
class Grant:
    """What a client is handed."""

    access_token: str
    scope: str
    refresh_token: str | None


class Vault:
    """All tokens of one API."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._access: dict[str, AccessToken] = {}
        first = RefreshToken(Family(accounts.USERNAME, SCOPE))
        self._refresh: dict[str, RefreshToken] = {accounts.REFRESH_TOKEN: first}

    def grant(self, subject: str, scope: str, *, refreshable: bool) -> Grant:
        """Found a family and return its first tokens."""
        family = Family(subject, scope or SCOPE)
        return self._issue(family, family.scope, refreshable=refreshable)

    def refresh(self, value: str, scope: str) -> Grant:
        """Trade a refresh token for new tokens.

        Raises:
            TokenError: it is unknown or revoked, or was used before (which revokes its family).
            ScopeError: `scope` is more than what was granted; the token stays unused.

        """
        token = self._refresh.get(value)
        if token is None:
            raise TokenError("The refresh token is unknown.")
        if token.used:
            token.family.revoked = True
            raise TokenError("The refresh token was used before; all tokens of its family are revoked.")
        if token.family.revoked:
            raise TokenError("The refresh token was revoked.")
        if not set(scope.split()) <= set(token.family.scope.split()):
            raise ScopeError("The scope is more than what was granted.")
        token.used = True
        return self._issue(token.family, scope or token.family.scope, refreshable=True)

    def use(self, value: str) -> str:
        """Count one use of an access token and return a sentence about it.

        Raises:
            TokenError: it is unknown, expired, revoked, or was used often enough.

        """
        token = self._access.get(value)
        if token is None:
            raise TokenError("The access token is unknown.")
        left = token.expires - self._clock()
        if left <= 0:
            raise TokenError("The access token expired.")
        if token.revoked or token.family.revoked:
            raise TokenError("The access token was revoked.")
        if token.uses >= USES:
            raise TokenError(f"The access token was revoked after {USES} uses.")
        token.uses += 1
        return f"access token of {token.family.subject}, use {token.uses} of {USES}, expires in {left:.1f} s"

    def revoke(self, value: str) -> None:
        """Revoke an access token, or a refresh token with its family; unknown ones are fine (RFC 7009)."""
        if access := self._access.get(value):
            access.revoked = True
        elif refresh := self._refresh.get(value):
            refresh.family.revoked = True

    def _issue(self, family: Family, scope: str, *, refreshable: bool) -> Grant:
        access = f"demo-access-{secrets.token_urlsafe(16)}"
        _remember(self._access, access, AccessToken(family, self._clock() + LIFETIME))
        refresh = f"demo-refresh-{secrets.token_urlsafe(16)}" if refreshable else None
        if refresh:
            _remember(self._refresh, refresh, RefreshToken(family))
        return Grant(access, scope, refresh)


def _remember(book: dict[str, _Token], value: str, token: _Token) -> None:
    book[value] = token
    if len(book) > MEMORY:
        del book[next(iter(book))]
