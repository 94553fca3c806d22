"""Credentials that are a token: sent as a bearer token, and renewed when the API says that it is dead."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import AsyncGenerator

import httpx

from proxy.credentials import AUTHORIZATION, MASK, Context, Credential, Scheme
from proxy.credentials._fields import set_field
from proxy.credentials._unauthorized import Unauthorized
from proxy.stores import Token
from proxy.tokens._secrets import secret_values
from proxy.tokens.source import TokenSource
from proxy.transport.proxies import own_proxy

EARLY = 60.0  # seconds before its expiry that a token is renewed, where no key says it


class Renewable(Credential):
    """What all types have that can renew."""

    unauthorized: Unauthorized = Unauthorized()


class TokenScheme(Scheme):
    """Sends a token; one that the API refuses is renewed, once, and the request repeated.

    An API that refuses even the new one is not what a renewal mends: the next one then waits, longer each time, so
    that a dead credential neither hammers its server nor locks an account.
    """

    fields = AUTHORIZATION
    source: TokenSource

    def __init__(self, settings: Renewable, context: Context, refresh_before: float = EARLY) -> None:
        self._settings = settings
        self.reads_body = settings.unauthorized.reads_body
        self._name = context.name
        self._clock = context.clock
        if own_proxy(settings) is not None:
            self.outgoing = (context.tokens.outgoing,)
        self.source = TokenSource(context.name, self._store_key, self._fetch, context.tokens, refresh_before)

    # -- what a type says ----------------------------------------------------------------------------

    @abstractmethod
    async def facts(self) -> list[object]:
        """Return all that tells this token from others, as JSON knows it: another configuration never meets it.

        Raises:
            SecretError: a secret can't be had.

        """

    @abstractmethod
    async def fetch(self) -> Token:
        """Get a token.

        Raises:
            SecretError, ProxyError: it can't be had.

        """

    def put(self, request: httpx.Request, token: Token) -> None:
        """Put `token` on `request`."""
        set_field(request, "Authorization", f"Bearer {token.access_token}".encode())

    def heed(self, request: httpx.Request, response: httpx.Response) -> bool:  # noqa: ARG002  # for those who override
        """Learn from an answer; say whether the same token has to be put on `request` anew, and sent again."""
        return False

    # -- the flow ------------------------------------------------------------------------------------

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        token = self.source.valid() or await self.source.token()
        self.put(request, token)
        response = yield request
        if self.heed(request, response):
            self.put(request, token)
            response = yield request
            self.heed(request, response)
        if not await self._settings.unauthorized.matches(response):
            return
        token = await self.source.renew(token)
        self.put(request, token)
        request.extensions["notes"] = ["renewed token"]
        response = yield request
        self.heed(request, response)
        self.source.hear(token, refused=await self._settings.unauthorized.matches(response))

    # -- the source ----------------------------------------------------------------------------------

    async def _fetch(self, known: Token | None) -> Token:  # noqa: ARG002  # most types have no refresh token
        return await self.fetch()

    async def secret_values(self) -> list[str]:
        """Return the values of the credential's secrets, to be masked in what a server says."""
        return await secret_values(self._settings.secrets())

    async def _store_key(self) -> str:
        digest = hashlib.sha256(json.dumps(await self.facts()).encode()).hexdigest()[:12]
        return f"{self._name}-{digest}"

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self.source.token()

    def expires_at(self) -> float | None:
        """As `Scheme.expires_at`."""
        return self.source.current.expires_at if self.source.current else None

    @property
    def scope(self) -> str | None:
        """As `Scheme.scope`."""
        return self.source.current.scope if self.source.current else None

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: fetches nothing."""
        for _, secret in self._settings.secrets():
            await secret.get()
        request.headers["Authorization"] = f"Bearer {MASK}"
        return {}

    async def aclose(self) -> None:
        """As `Scheme.aclose`."""
        await self.source.aclose()
