"""The token requests of one OAuth2 client: by its grant, by a refresh token, or by what a user's login gave."""

from __future__ import annotations

import httpx

from proxy.stores import Token
from proxy.tokens import Client, Grant, Tokens
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.discovery import AuthorizationServer
from proxy.tokens.endpoint import TIMEOUT, Refused, TokenEndpoint
from proxy.tokens.settings import ClientSettings
from proxy.transport.stock import StockTransport
from proxy.transport.tls import TlsSettings, context

CONNECT = 5.0  # seconds


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
        self._own: StockTransport | None = None
        if settings.tls != TlsSettings():
            self._own = StockTransport(lambda: context(settings.tls), connect=CONNECT, read=TIMEOUT)
        self._transport: httpx.AsyncBaseTransport = self._own or tokens.client
        self.server = AuthorizationServer(settings, self._transport, tokens.clock)
        self._refused_refresh = ""

    async def fetch(self, refresh_token: str | None) -> Token:
        """Get a token, by a refresh token if there is one, or else by the grant.

        Raises:
            SecretError: a secret can't be had.
            CredentialError, TokenEndpointDown: as `TokenEndpoint.request`.

        """
        client = await self._client()
        refused, self._refused_refresh = self._refused_refresh, ""
        if refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        else:
            form = await self.grant.form(client)
            if form.get("refresh_token", "") == refused != "":
                raise Refused("invalid_grant")  # a moment ago; servers that detect reuse revoke the whole family
        try:
            return await self._request(client, [*form.items(), *self.settings.wishes()])
        except Refused:
            self._refused_refresh = refresh_token or ""
            raise

    async def _client(self) -> Client:
        return Client(self.name, self.settings, await self.server.token_url(), self._tokens.clock)

    async def _request(self, client: Client, form: list[tuple[str, str]]) -> Token:
        extra = self.settings.extra
        identity, headers = await self._authentication.identify(client)
        fields = [pair for pair in [*form, *identity.items()] if pair[0] not in extra]
        endpoint = TokenEndpoint(client.token_url, self._transport, self._tokens.clock)
        return await endpoint.request([*fields, *extra.items()], headers, ("bearer", *self.grant.kinds))

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
        ]

    async def aclose(self) -> None:
        """Close what it holds."""
        if self._own is not None:
            await self._own.aclose()
