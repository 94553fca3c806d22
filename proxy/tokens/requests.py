"""The token requests of one OAuth2 client: by its grant, by a refresh token, or by what a user's login gave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from proxy.stores import Token
from proxy.tokens import Client, Grant, Tokens
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.discovery import AuthorizationServer
from proxy.tokens.endpoint import TIMEOUT, Endpoint, Refused, TokenEndpoint
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
        client = await self.client()
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

    async def redeem(self, form: dict[str, str]) -> Token:
        """Get a token by what a user's login gave; otherwise as `fetch`."""
        resources = [wish for wish in self.settings.wishes() if wish[0] == "resource"]
        return await self._request(await self.client(), [*form.items(), *resources])

    async def device_code(self) -> dict[str, object]:
        """Ask for a code that a user enters elsewhere (RFC 8628, section 3.1), and return the answer.

        Raises:
            SecretError: a secret can't be had.
            CredentialError, TokenEndpointDown: as `Endpoint.granted`.

        """
        url = await self.server.url("device_authorization_url", "device_authorization_endpoint")
        endpoint = Endpoint(url, self._transport, self._tokens.clock, what="the device authorization endpoint")
        fields, headers = await self._fields(await self.client(), self.settings.wishes())
        return endpoint.granted(await endpoint.post(fields, headers))

    async def client(self) -> Client:
        """Return the client as grants see it.

        Raises:
            CredentialError, TokenEndpointDown: where tokens are asked for can't be told.

        """
        return Client(self.name, self.settings, await self.server.token_url(), self._tokens.clock)

    async def _request(self, client: Client, form: list[tuple[str, str]]) -> Token:
        fields, headers = await self._fields(client, form)
        endpoint = TokenEndpoint(client.token_url, self._transport, self._tokens.clock)
        return await endpoint.request(fields, headers, ("bearer", *self.grant.kinds))

    async def _fields(
        self, client: Client, form: list[tuple[str, str]]
    ) -> tuple[list[tuple[str, str]], dict[str, str]]:
        """Return the form with all that belongs to it, and the header fields."""
        extra = self.settings.extra
        identity, headers = await self._authentication.identify(client)
        return [*(pair for pair in [*form, *identity.items()] if pair[0] not in extra), *extra.items()], headers

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


@dataclass(frozen=True, slots=True)
class Login:
    """How a user's login gives a credential its token.

    Attributes:
        requests: by which it is had.
        keep: puts it where requests will look for it; raises `StoreError`.

    """

    requests: TokenRequests
    keep: Callable[[Token], Awaitable[None]]
