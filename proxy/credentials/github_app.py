"""A GitHub App's token for one of its installations.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal
from urllib.parse import quote

import httpx
from pydantic import Field, model_validator

from proxy import keys
from proxy.credentials import Context, LoadKey, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.credentials._tokens import from_table
from proxy.errors import CredentialError
from proxy.keys import SigningKey
from proxy.secrets import SecretNumber, SecretText
from proxy.stores import Token
from proxy.tokens.endpoint import Endpoint
from proxy.tokens.settings import URL_PATTERN, check_url
from proxy.tokens.signing import signing_key
from proxy.transport.proxies import ProxySettings

LIFE = 540  # seconds of the JWT that asks for a token; GitHub takes at most 600
SLACK = 60  # seconds that this machine's clock may be ahead of GitHub's


class GithubApp(ProxySettings, Renewable):
    """``type = "github_app"``; ``app_id`` may also be the app's client id."""

    type: Literal["github_app"]
    app_id: SecretNumber
    installation_id: SecretNumber
    key: SecretText
    api_url: str = Field(default="https://api.github.com", pattern=URL_PATTERN)
    insecure: bool = False

    @model_validator(mode="after")
    def _safe(self) -> GithubApp:
        check_url("api_url", self.api_url, insecure=self.insecure)
        return self

    def prepare(self) -> None:
        """As `Credential.prepare`."""
        keys.prepare()

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return GithubAppScheme(self, context)

    async def signing_key(self) -> SigningKey:
        """Return ``key``.

        Raises:
            SecretError: it can't be had, or is no RSA key.

        """
        return await signing_key(self.key, partial(SigningKey.load, algorithm="RS256"))

    def signing_keys(self) -> Iterator[tuple[str, LoadKey]]:
        """As `Credential.signing_keys`."""
        yield "key", self.signing_key


class GithubAppScheme(TokenScheme):
    """Sends the installation's token."""

    def __init__(self, settings: GithubApp, context: Context) -> None:
        super().__init__(settings, context)
        self._app = settings
        keys.prepare()
        self._client = context.tokens.client

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`."""
        app = self._app
        return [app.api_url, await app.app_id.get(), await app.installation_id.get()]

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`."""
        app = self._app
        installation = await app.installation_id.get()
        url = f"{app.api_url.rstrip('/')}/app/installations/{quote(installation, safe='')}/access_tokens"
        headers = {
            "Authorization": f"Bearer {await self._assertion()}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        endpoint = Endpoint(url, self._client, self._clock, what="GitHub", secrets=self.secret_values)
        reply = await endpoint.post([], headers)
        if reply.status == 404:
            raise CredentialError("GitHub knows no such installation of the app; is installation_id right?")
        return from_table(endpoint.granted(reply), self._clock.time(), f"GitHub's answer ({reply.unusable})")

    async def _assertion(self) -> str:
        key = await self._app.signing_key()
        now = int(self._clock.time())
        return key.sign({"iss": await self._app.app_id.get(), "iat": now - SLACK, "exp": now + LIFE - SLACK})

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: asks nobody."""
        await super().explain(request)
        await self._app.signing_key()
        return {"token": f"from {self._app.api_url} for the installation, or the store"}
