"""OAuth2 access tokens (RFC 6749, RFC 6750): obtained, renewed, and replaced when the API refuses one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Literal

import httpx
from pydantic import Field, model_validator

from proxy import plugins
from proxy.credentials import AUTHORIZATION, MASK, Context, Scheme
from proxy.credentials._renewing import Renewable
from proxy.errors import SecretError
from proxy.secrets import Secret, Source
from proxy.stores import Token
from proxy.tokens import Grant, Tokens
from proxy.tokens.endpoint import Refused, TokenEndpoint, client_authentication
from proxy.tokens.source import TokenSource
from proxy.values import Duration, Words, is_loopback

GRANTS = {grant.name: grant for grant in plugins.members("proxy.tokens", Grant)}
if TYPE_CHECKING:
    GrantName = str
else:
    GrantName = Literal[tuple(GRANTS)]


class OAuth2(Renewable):
    """``type = "oauth2"``."""

    type: Literal["oauth2"]
    grant: GrantName
    token_url: str = Field(pattern=r"^https?://[^\s/?#]+[^\s#]*$")
    client_id: Secret
    client_secret: Secret | None = None
    client_auth: Literal["basic", "post", "none"] = "basic"
    scope: Words | str = ""
    audience: str = ""
    resource: Words = ()
    refresh_token: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None
    extra: dict[str, str] = Field(default={})
    refresh_before: Duration = 60.0
    insecure: bool = False

    @model_validator(mode="after")
    def _complete(self) -> OAuth2:
        missing = [key for key in GRANTS[self.grant].needs if getattr(self, key) is None]
        if self.client_auth != "none" and self.client_secret is None:
            missing.append("client_secret")
        if missing:
            raise ValueError(
                f'grant "{self.grant}" with client_auth "{self.client_auth}" also needs {", ".join(missing)}'
            )
        url = _parsed(self.token_url)
        if url.scheme == "http" and not is_loopback(url.host) and not self.insecure:
            raise ValueError("token_url is plain http beyond this machine; right would be https, or insecure = true")
        return self

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return OAuth2Scheme(self, context.name, context.tokens)


def _parsed(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError("token_url is not a URL") from None
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise ValueError("token_url has a port that there is not")
    if url.userinfo:
        raise ValueError("token_url holds a user or password; right would be client_id and client_secret")
    return url


class OAuth2Scheme(Scheme):
    """Sends the access token; one that the API refuses is renewed, once, and the request repeated."""

    fields = AUTHORIZATION

    def __init__(self, settings: OAuth2, name: str, tokens: Tokens) -> None:
        self._settings = settings
        self._grant = GRANTS[settings.grant]()
        self._endpoint = TokenEndpoint(settings.token_url, tokens.client, tokens.clock)
        self._name = name
        self._refused_refresh = ""
        self.source = TokenSource(name, self._store_key, self._fetch, tokens, settings.refresh_before)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        token = await self.source.token()
        request.headers["Authorization"] = f"Bearer {token.access_token}"
        response = yield request
        if await self._settings.unauthorized.matches(response):
            token = await self.source.renew(token)
            request.headers["Authorization"] = f"Bearer {token.access_token}"
            request.extensions["notes"] = ["renewed token"]
            yield request

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self.source.token()

    def expires_at(self) -> float | None:
        """As `Scheme.expires_at`."""
        return self.source.current.expires_at if self.source.current else None

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: fetches nothing."""
        request.headers["Authorization"] = f"Bearer {MASK}"
        for _, secret in self._settings.secrets():
            await secret.get()
        url = self._settings.token_url.partition("?")[0]  # some have an API key behind it
        return {"token": f"from {url} by {self._settings.grant}, or the store"}

    async def aclose(self) -> None:
        """As `Scheme.aclose`."""
        await self.source.aclose()

    # -- the token request ---------------------------------------------------------------------------

    async def _value(self, key: str) -> str:
        source: Source | None = getattr(self._settings, key)
        if source is None:
            raise SecretError(f"{key} is not given")
        return await source.get()

    async def _fetch(self, refresh_token: str | None) -> Token:
        settings = self._settings
        refused, self._refused_refresh = self._refused_refresh, ""
        if refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        else:
            form = await self._grant.form(self._value)
            if form.get("refresh_token", "") == refused != "":
                raise Refused("invalid_grant")  # a moment ago; servers that detect reuse revoke the whole family
        secret = await self._value("client_secret") if settings.client_auth != "none" else ""
        identity, headers = client_authentication(settings.client_auth, await self._value("client_id"), secret)
        try:
            return await self._endpoint.request([*form.items(), *self._wishes(), *identity.items()], headers)
        except Refused:
            self._refused_refresh = refresh_token or ""
            raise

    def _wishes(self) -> list[tuple[str, str]]:
        """What the token is for (RFC 6749, section 3.3; RFC 8707)."""
        settings = self._settings
        scope = settings.scope if isinstance(settings.scope, str) else " ".join(settings.scope)
        named = [("scope", scope), ("audience", settings.audience)]
        wishes = [pair for pair in named if pair[1]]
        return [*wishes, *(("resource", resource) for resource in settings.resource), *settings.extra.items()]

    async def _store_key(self) -> str:
        """Name the token such that another configuration, or another first refresh token, never meets it."""
        settings = self._settings
        facts = [
            settings.grant,
            settings.token_url,
            await self._value("client_id"),
            sorted(self._wishes()),
            [await self._value(key) for key in ("username", "refresh_token") if getattr(settings, key) is not None],
        ]
        digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        return f"{self._name}-{digest}"
