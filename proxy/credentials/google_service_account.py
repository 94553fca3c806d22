"""A Google service account: access tokens for Google's APIs, or ID tokens for services that sit behind them.

https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import httpx
from pydantic import model_validator

from proxy import keys
from proxy.credentials import Context, LoadKey, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.credentials._tokens import from_id_token
from proxy.errors import SecretError
from proxy.keys import SigningKey
from proxy.secrets import Source, text_of_file
from proxy.stores import Token
from proxy.tokens.endpoint import TokenEndpoint
from proxy.tokens.settings import check_url
from proxy.transport.proxies import ProxySettings
from proxy.values import FilePath, Words

LIFE = 3600  # seconds; the longest that Google takes
GOOGLE = "https://oauth2.googleapis.com/token"  # unless the key file names another one
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_RIGHT = "right would be the JSON file that Google gives for a key of the account"


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """What a key file says."""

    email: str
    key: str
    key_id: str | None
    token_url: str


class GoogleServiceAccount(ProxySettings, Renewable):
    """``type = "google_service_account"``; the key file is read again when it changes."""

    type: Literal["google_service_account"]
    key_file: FilePath
    scope: Words | str = ""
    audience: str = ""

    @model_validator(mode="after")
    def _one_kind(self) -> GoogleServiceAccount:
        if bool(self.scope) == bool(self.audience):
            raise ValueError("right would be either scope, for an access token, or audience, for an ID token")
        return self

    @cached_property
    def source(self) -> Source:
        """The key file as a secret."""
        return text_of_file(self.key_file)

    def secrets(self) -> Iterator[tuple[str, Source]]:
        """As `Credential.secrets`."""
        yield "key_file", self.source

    def prepare(self) -> None:
        """As `Credential.prepare`."""
        keys.prepare()

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return GoogleScheme(self, context)

    async def account(self) -> Account:
        """Read the key file.

        Raises:
            SecretError: it can't be had, or is none.

        """
        table: object = None
        text = await self.source.get()
        # Raised outside: a JSONDecodeError has the whole text on it, and would be the context of ours.
        with suppress(ValueError, RecursionError):
            table = json.loads(text)
        told = {} if not isinstance(table, dict) else {key: str(value) for key, value in table.items() if value}
        if "client_email" not in told or "private_key" not in told:
            raise SecretError(f"{self.source.where} is no service account's key; {_RIGHT}")
        account = Account(
            told["client_email"], told["private_key"], told.get("private_key_id"), told.get("token_uri", GOOGLE)
        )
        try:
            check_url("its token_uri", account.token_url, insecure=False)
        except ValueError as failure:
            problem = str(failure).partition(";")[0]
            raise SecretError(f"{self.source.where} is no service account's key: {problem}; {_RIGHT}") from None
        return account

    async def signing_key(self) -> SigningKey:
        """Return the key in the key file; otherwise as `account`."""
        account = await self.account()
        try:
            return SigningKey.load(account.key, "RS256", account.key_id)
        except SecretError as failure:
            problem = f"{self.source.where}: private_key: {failure}"
        raise SecretError(problem)

    def signing_keys(self) -> Iterator[tuple[str, LoadKey]]:
        """As `Credential.signing_keys`."""
        yield "key_file", self.signing_key


class GoogleScheme(TokenScheme):
    """Sends the account's token."""

    def __init__(self, settings: GoogleServiceAccount, context: Context) -> None:
        super().__init__(settings, context)
        self._google = settings
        keys.prepare()
        self._client = context.tokens.client
        self._scope = settings.scope if isinstance(settings.scope, str) else " ".join(settings.scope)

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`."""
        account = await self._google.account()
        return [account.email, account.token_url, self._scope, self._google.audience]

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`."""
        account = await self._google.account()
        endpoint = TokenEndpoint(account.token_url, self._client, self._clock, secrets=self.secret_values)
        form = [("grant_type", GRANT), ("assertion", self._assertion(account, await self._google.signing_key()))]
        if not self._google.audience:
            return await endpoint.request(form, {})
        reply = await endpoint.post(form, {})
        id_token = endpoint.granted(reply).get("id_token")
        return from_id_token(id_token, self._clock.time(), f"the token endpoint's answer ({reply.unusable})")

    def _assertion(self, account: Account, key: SigningKey) -> str:
        now = int(self._clock.time())
        audience = self._google.audience
        claims = {
            "iss": account.email,
            "aud": account.token_url,
            "iat": now,
            "exp": now + LIFE,
            **({"target_audience": audience} if audience else {"scope": self._scope}),
        }
        return key.sign(claims)

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: asks nobody."""
        await super().explain(request)
        account = await self._google.account()
        await self._google.signing_key()
        return {"token": f"from {account.token_url.partition('?')[0]} for {account.email}, or the store"}
