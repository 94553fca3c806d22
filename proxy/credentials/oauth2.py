"""OAuth2 access tokens (RFC 6749, RFC 6750): obtained, renewed, and replaced when the API refuses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import httpx
from pydantic import model_validator

from proxy import plugins
from proxy.credentials import Context, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.stores import Token
from proxy.tokens import Grant
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.requests import Login, TokenRequests
from proxy.tokens.settings import ClientSettings

GRANTS = {grant.name: grant for grant in plugins.members("proxy.tokens", Grant)}
AUTHENTICATIONS = {way.name: way for way in plugins.members("proxy.tokens.clients", ClientAuthentication)}
if TYPE_CHECKING:
    GrantName = str
    AuthenticationName = str
else:
    GrantName = Literal[tuple(GRANTS)]
    AuthenticationName = Literal[tuple(AUTHENTICATIONS)]


class OAuth2(ClientSettings, Renewable):
    """``type = "oauth2"``."""

    type: Literal["oauth2"]
    grant: GrantName
    client_auth: AuthenticationName = "basic"

    @model_validator(mode="after")
    def _complete(self) -> OAuth2:
        grant, authentication = GRANTS[self.grant], AUTHENTICATIONS[self.client_auth]
        needs = dict.fromkeys([*grant.needs, *authentication.needs, *([] if grant.anonymous else ["client_id"])])
        missing = [key for key in needs if getattr(self, key) is None]
        if not self.server:
            missing.append("token_url, or issuer")
        if "tls" in needs and self.tls.cert is None:
            missing.append("tls = { cert = …, key = … }")
        if missing:
            raise ValueError(
                f'grant "{self.grant}" with client_auth "{self.client_auth}" also needs {", ".join(missing)}'
            )
        return self

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return OAuth2Scheme(self, context)


class OAuth2Scheme(TokenScheme):
    """Sends the access token."""

    def __init__(self, settings: OAuth2, context: Context) -> None:
        super().__init__(settings, context, settings.refresh_before)
        grant, authentication = GRANTS[settings.grant](), AUTHENTICATIONS[settings.client_auth]()
        self._store = context.tokens.store
        self.requests = TokenRequests(context.name, settings, grant, authentication, context.tokens)

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`."""
        return await self.requests.facts()

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`."""
        return await self.requests.fetch(None)

    async def _fetch(self, refresh_token: str | None) -> Token:
        return await self.requests.fetch(refresh_token)

    @property
    def login(self) -> Login | None:
        """As `Scheme.login`."""
        return Login(self.requests, self._keep) if self.requests.grant.for_users else None

    async def _keep(self, token: Token) -> None:
        key = await self._store_key()
        async with self._store.lock(key):
            await self._store.save(key, token)

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: fetches nothing."""
        await super().explain(request)
        server = self.requests.settings.server.partition("?")[0]  # some have an API key behind it
        return {"token": f"from {server} by {self.requests.settings.grant}, or the store"}

    async def aclose(self) -> None:
        """As `Scheme.aclose`."""
        await super().aclose()
        await self.requests.aclose()
