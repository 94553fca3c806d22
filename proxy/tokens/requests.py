"""The token requests of one OAuth2 client: by its grant, by a refresh token, or by what a user's login gave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import httpx

from proxy.keys import SigningKey
from proxy.secrets import Source
from proxy.stores import Token
from proxy.tokens import Client, Grant, Tokens
from proxy.tokens._secrets import secret_values
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.discovery import AuthorizationServer
from proxy.tokens.dpop import Nonces, Prover
from proxy.tokens.endpoint import CONNECT, TIMEOUT, Endpoint, Refused, Reply, TokenEndpoint
from proxy.tokens.settings import ClientSettings
from proxy.transport.anywhere import AnywhereTransport
from proxy.transport.tls import TlsSettings, bound

_SCOPE_REFUSED = ("invalid_scope", "invalid_request")  # RFC 6749, section 5.2

Form = list[tuple[str, str]]
MakeForm = Callable[[Client], Awaitable[dict[str, str]]]


class TokenRequests:
    """How one credential's tokens are asked for.

    Args:
        name: the credential's, for people.
        settings: its keys.
        grant: how the first token is had.
        authentication: how the client says who it is, whatever it asks for.

    """

    def __init__(
        self, name: str, settings: ClientSettings, grant: Grant, authentication: ClientAuthentication, tokens: Tokens
    ) -> None:
        self.name = name
        self.settings = settings
        self.grant = grant
        self._authentication = authentication
        self._tokens = tokens
        self._own: AnywhereTransport | None = None
        if settings.tls != TlsSettings():
            tls = partial(bound(), settings.tls)
            self._own = AnywhereTransport(tls, tokens.outgoing, connect=CONNECT, read=TIMEOUT, own=tokens.own)
        self._transport: httpx.AsyncBaseTransport = self._own or tokens.client
        self.server = AuthorizationServer(settings, self._transport, tokens.clock)
        self._nonces = Nonces()
        self._refused: tuple[str, Refused] | None = None  # a refresh token, and how it was refused

    async def fetch(
        self, refresh_token: str | None, dpop_key: str | None = None, *, refresh_with_scope: bool = False
    ) -> Token:
        """Get a token, by a refresh token if there is one, or else by the grant.

        Args:
            refresh_token: what renews.
            dpop_key: the JWK that the refresh token is bound to; None for a new one, if there has to be one at all.
            refresh_with_scope: whether the last refresh was accepted with ``scope``.

        Raises:
            SecretError: a secret can't be had.
            CredentialError, TokenEndpointDown: as `TokenEndpoint.request`.

        """
        refused, self._refused = self._refused, None

        async def form(client: Client) -> dict[str, str]:
            if refresh_token is not None:
                return {"grant_type": "refresh_token", "refresh_token": refresh_token}
            form = await self.grant.form(client)
            if refused is not None and form.get("refresh_token") == refused[0]:
                raise refused[1]  # a moment ago; servers that detect reuse revoke the whole family
            return form

        try:
            if refresh_token is None and not self.grant.refreshes:
                return await self._request(form, self.settings.wishes(), self._prover(dpop_key))
            return await self._refresh(form, self._prover(dpop_key), refresh_with_scope)
        except Refused as refusal:
            if refresh_token is not None:
                self._refused = refresh_token, refusal.again()
            raise

    async def _refresh(self, form: MakeForm, prover: Prover | None, with_scope: bool) -> Token:
        """Refresh as ``refresh_scope`` says: "auto" tries the other way where the first one was refused for its scope.

        A refresh token that was refused for another reason than itself has not been used, and may be sent again.
        """
        settings = self.settings
        if settings.refresh_scope != "auto" or not settings.scopes or "scope" in settings.extra:
            return await self._request(form, settings.wishes(scope=settings.refresh_scope == "send"), prover)
        try:
            token = await self._request(form, settings.wishes(scope=with_scope), prover)
        except Refused as refusal:
            if refusal.code not in _SCOPE_REFUSED:
                raise
            with_scope = not with_scope
            token = await self._request(form, settings.wishes(scope=with_scope), prover)
        return replace(token, refresh_with_scope=with_scope)

    async def redeem(self, given: dict[str, str]) -> Token:
        """Get a token by what a user's login gave, bound to `login_key`; otherwise as `fetch`."""

        async def form(client: Client) -> dict[str, str]:  # noqa: ARG001
            return given

        resources = [wish for wish in self.settings.wishes() if wish[0] == "resource"]
        return await self._request(form, resources, self._prover(self.login_key))

    @cached_property
    def login_key(self) -> str | None:
        """The JWK that the tokens of a login are bound to, or None if they need not be."""
        return SigningKey.generate().private_jwk() if self.settings.dpop else None

    def _prover(self, dpop_key: str | None) -> Prover | None:
        if not self.settings.dpop:
            return None
        key = SigningKey.generate() if dpop_key is None else SigningKey.load(dpop_key)
        return Prover(key, self._tokens.clock)

    async def device_code(self) -> dict[str, object]:
        """Ask for a code that a user enters elsewhere (RFC 8628, section 3.1), and return the answer.

        Raises:
            SecretError: a secret can't be had.
            CredentialError, TokenEndpointDown: as `Endpoint.granted`.

        """
        url = await self.server.url("device_authorization_url", "device_authorization_endpoint")
        what = "the device authorization endpoint"
        endpoint = Endpoint(url, self._transport, self._tokens.clock, what=what, secrets=self.secrets)
        fields, headers = await self._fields(await self.client(), self.settings.wishes())
        return endpoint.granted(await endpoint.post(fields, headers))

    async def client(self) -> Client:
        """Return the client as grants see it.

        Raises:
            CredentialError, TokenEndpointDown: where tokens are asked for can't be told.

        """
        return Client(self.name, self.settings, await self.server.token_url(), self._tokens.clock)

    async def _request(self, form: MakeForm, wishes: Form, prover: Prover | None) -> Token:
        client = await self.client()
        endpoint = TokenEndpoint(client.token_url, self._transport, self._tokens.clock, secrets=self.secrets)
        kinds = ("bearer", *self.grant.kinds) if prover is None else ("dpop",)
        reply, again = await self._post(endpoint, client, form, wishes, prover)
        if again:
            reply, _ = await self._post(endpoint, client, form, wishes, prover)
        token = endpoint.token(reply, kinds)
        if prover is None:
            return token
        return replace(token, token_type="DPoP", dpop_key=prover.key.private_jwk())  # noqa: S106  # a scheme

    async def _post(
        self, endpoint: TokenEndpoint, client: Client, form: MakeForm, wishes: Form, prover: Prover | None
    ) -> tuple[Reply, bool]:
        """Ask once, with all that is good for one request only; say whether to ask again, with the server's nonce."""
        fields, headers = await self._fields(client, [*(await form(client)).items(), *wishes])
        nonce = self._nonces.of(client.token_url)
        if prover is not None:
            headers["DPoP"] = prover.proof("POST", client.token_url, nonce)
        reply = await endpoint.post(fields, headers)
        is_new = prover is not None and self._nonces.heed(client.token_url, reply.headers, nonce)
        return reply, is_new and reply.error == "use_dpop_nonce"

    async def _fields(self, client: Client, form: Form) -> tuple[Form, dict[str, str]]:
        """Return the form with all that belongs to it, and the header fields."""
        extra = self.settings.extra
        identity, headers = await self._authentication.identify(client)
        return [*(pair for pair in [*form, *identity.items()] if pair[0] not in extra), *extra.items()], headers

    async def secrets(self) -> list[str]:
        """Return the values of all secrets of the configuration that can be had."""
        keys = {key: getattr(self.settings, key) for key in type(self.settings).model_fields}
        return await secret_values((key, value) for key, value in keys.items() if isinstance(value, Source))

    async def facts(self) -> list[object]:
        """Return what tells the token from those of another configuration or owner, as JSON knows it.

        Raises:
            SecretError: a secret can't be had.

        """
        settings = self.settings
        client = Client(self.name, settings, "", self._tokens.clock)
        return [
            settings.grant,
            settings.server,
            "" if settings.client_id is None else await client.value("client_id"),
            sorted([*settings.wishes(), *settings.extra.items()]),
            await self.grant.owner(client),
            settings.dpop,
        ]

    async def aclose(self) -> None:
        """Close what it holds."""
        if self._own is not None:
            await self._own.aclose()


@dataclass(frozen=True, slots=True)
class Login:
    """How a user's login gives a credential its token.

    Attributes:
        requests: by which it is had.
        keep: puts it where requests will look for it; raises `StoreError`.

    """

    requests: TokenRequests
    keep: Callable[[Token], Awaitable[None]]
