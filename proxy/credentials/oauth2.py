"""OAuth2 access tokens (RFC 6749, RFC 6750): obtained, renewed, and replaced when the API refuses one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import httpx
from pydantic import model_validator

from proxy import plugins
from proxy.credentials import AUTHORIZATION, MASK, Context, LoadKey, Scheme
from proxy.credentials._challenges import challenges
from proxy.credentials._fields import field_value
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.errors import CredentialError
from proxy.keys import SigningKey
from proxy.stores import Token
from proxy.tokens import Grant
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.dpop import Nonces, Prover
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
        if "tls" in needs and self.tls.cert is None:
            missing.append("tls = { cert = …, key = … }")
        urls = [] if self.issuer else [key for key in grant.urls if getattr(self, key) is None]
        if urls:
            missing.append(f"issuer or {' and '.join(urls)}")
        if missing:
            public = '; a public client has client_auth = "none"' if "client_secret" in missing else ""
            raise ValueError(
                f'grant "{self.grant}" with client_auth "{self.client_auth}" also needs {", ".join(missing)}{public}'
            )
        authentication.check(self)
        return self

    def signing_keys(self) -> Iterator[tuple[str, LoadKey]]:
        """As `Credential.signing_keys`."""
        if self.key is not None:
            yield "key", self.signing_key

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return (ProvingScheme if self.dpop else OAuth2Scheme)(self, context)


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

    async def _fetch(self, known: Token | None) -> Token:
        if known is None:
            return await self.fetch()
        return await self.requests.fetch(
            known.refresh_token, known.dpop_key, refresh_with_scope=known.refresh_with_scope
        )

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


class ProvingScheme(OAuth2Scheme):
    """Sends the access token with a proof that its key is held (RFC 9449)."""

    fields = AUTHORIZATION | {b"dpop"}

    def __init__(self, settings: OAuth2, context: Context) -> None:
        super().__init__(settings, context)
        self._nonces = Nonces()
        self._prover: tuple[str, Prover] | None = None  # the last one, and its key

    def put(self, request: httpx.Request, token: Token) -> None:
        """As `TokenScheme.put`."""
        origin, path = _place(request)
        nonce = request.extensions["dpop_nonce"] = self._nonces.of(origin)
        request.headers["Authorization"] = f"DPoP {token.access_token}"
        request.headers["DPoP"] = self._proves(token).proof(request.method, origin + path, nonce, token.access_token)

    def _proves(self, token: Token) -> Prover:
        if token.dpop_key is None:
            raise CredentialError("the token has come without its key; right would be another one")
        if self._prover is None or self._prover[0] != token.dpop_key:
            self._prover = token.dpop_key, Prover(SigningKey.load(token.dpop_key), self._clock)
        return self._prover[1]

    def heed(self, request: httpx.Request, response: httpx.Response) -> bool:
        """As `TokenScheme.heed`: an API may want its nonce in the proof (RFC 9449, section 9)."""
        used = request.extensions["dpop_nonce"]
        if not self._nonces.heed(_place(request)[0], response.headers, used) or response.status_code != 401:
            return False
        return any(
            challenge.scheme == "dpop" and challenge.parameters.get("error") == "use_dpop_nonce"
            for challenge in challenges(response.headers.raw)
        )

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        told = await super().explain(request)
        request.headers["Authorization"], request.headers["DPoP"] = f"DPoP {MASK}", MASK
        return told


def _place(request: httpx.Request) -> tuple[str, str]:
    """Return the origin that a request goes to, and its path."""
    target: bytes = request.extensions["target"]
    host = field_value(request, "Host").decode("latin-1")
    return f"{request.url.scheme}://{host}", target.partition(b"?")[0].decode("latin-1")
