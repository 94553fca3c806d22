"""How a token is obtained, a grant a file; and how it is renewed: once, early, stored.

`Tokens` is what all sources of tokens share: the store, the clock, the client for token endpoints, and who
wants to hear of renewals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, ClassVar

import httpx

from proxy import hints
from proxy.clock import Clock
from proxy.errors import CredentialError, SecretError
from proxy.keys import SigningKey
from proxy.secrets import Source
from proxy.tokens.settings import ClientSettings
from proxy.transport.outgoing import DIRECT, ProxyRules
from proxy.transport.own import OwnAddresses

if TYPE_CHECKING:
    from proxy.stores import Store


@dataclass(frozen=True, slots=True)
class Standing:
    """How a credential's token stands.

    Attributes:
        expires_at: epoch seconds, or None if that is not known or there is no token.
        resting_until: epoch seconds before which nobody asks for another token, or None.
        problem: what failed last; empty once it went well again.
        unsaved: why the token is in memory only; empty if the store has it.
        public: as `ProxyError.public`, of the problem.

    """

    expires_at: float | None
    resting_until: float | None = None
    problem: str = ""
    unsaved: str = ""
    public: str = ""


class Renewed(ABC):
    """What keeps one credential's token.

    Attributes:
        name: the credential's.

    """

    name: str

    @abstractmethod
    def standing(self) -> Standing:
        """Return how its token stands."""

    @abstractmethod
    async def settle(self) -> None:
        """Let a renewal under way come to its end: its answer may hold a rotated refresh token."""

    @abstractmethod
    async def aclose(self) -> None:
        """Renew no more, and wait only shortly for a renewal under way."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What all sources of tokens share.

    Attributes:
        client: for token endpoints; raises the errors of `proxy.errors`.
        outgoing: which outgoing proxy `client` uses where.
        renewed: told of each renewal: credential, and ``success``, ``refused`` or ``unavailable``.
        warn: told of what users must know, such as a store that can't be written.
        random: spreads what would else happen all at once.
        sources: all that share this.
        debug: called with what helps to find a fault, such as each renewal.
        own: addresses that token requests are not sent to, since this process listens there itself.

    """

    store: Store
    clock: Clock
    client: httpx.AsyncBaseTransport
    renewed: Callable[[str, str], None] = lambda credential, outcome: None  # noqa: ARG005
    warn: Callable[[str], None] = lambda text: None  # noqa: ARG005
    random: Random = field(default_factory=Random)
    sources: list[Renewed] = field(default_factory=list)
    outgoing: ProxyRules = DIRECT
    debug: Callable[[str], None] = lambda text: None  # noqa: ARG005
    own: OwnAddresses = field(default_factory=OwnAddresses)


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth2 client at the moment of a token request.

    Attributes:
        name: of its credential, for people.
        settings: its keys.
        token_url: where the request goes.

    """

    name: str
    settings: ClientSettings
    token_url: str
    clock: Clock

    async def value(self, key: str) -> str:
        """Return the value of a secret key.

        Raises:
            SecretError: it can't be had.

        """
        source: Source | None = getattr(self.settings, key)
        if source is None:
            raise SecretError(f"{key} is not given")
        return await source.get()

    async def signing_key(self) -> SigningKey:
        """Return ``key``, which signs by ``algorithm`` and is named ``key_id``; otherwise as `value`."""
        return await self.settings.signing_key()


class Grant(ABC):
    """An OAuth2 grant (RFC 6749, section 4).

    Attributes:
        name: as ``grant`` has it.
        needs: the keys that it can't do without.
        urls: the endpoints that it can't do without, where no ``issuer`` says them.
        anonymous: whether the server may not want to know which client asks.
        for_users: whether its token can come from a user's login.
        refreshes: whether its form is that of a refresh (RFC 6749, section 6).
        kinds: what ``token_type`` may be beside Bearer, in lower case.

    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    urls: ClassVar[tuple[str, ...]] = ("token_url",)
    anonymous: ClassVar[bool] = False
    for_users: ClassVar[bool] = False
    refreshes: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    async def form(self, client: Client) -> dict[str, str]:
        """Return the fields of the token request.

        Raises:
            SecretError: a secret can't be had.
            CredentialError: nobody is there who would have to be.

        """

    async def owner(self, client: Client) -> list[str]:  # noqa: ARG002  # for those who override it
        """Tell whose right the token gives, beside the client's: another owner's token is never taken for it.

        Raises:
            SecretError: a secret can't be had.

        """
        return []


class Interactive(Grant):
    """A grant that wants a user: its first token comes from ``countersign login``."""

    for_users: ClassVar[bool] = True

    async def form(self, client: Client) -> dict[str, str]:
        """As `Grant.form`: never without a user."""
        raise CredentialError(f"login needed: {hints.command('login', client.name)}")


__all__ = ["Client", "Grant", "Interactive", "Renewed", "Standing", "Tokens"]
