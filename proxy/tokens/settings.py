"""The keys of an OAuth2 client, as the configuration has them. What goes together is judged by who knows the grants."""

from __future__ import annotations

import re
from typing import Literal

import httpx
from pydantic import Field, JsonValue, model_validator

from proxy.errors import SecretError
from proxy.keys import Algorithm, SigningKey
from proxy.secrets import Secret, SecretText
from proxy.tokens.signing import signing_key
from proxy.transport.proxies import ProxySettings
from proxy.transport.tls import TlsSettings
from proxy.values import Duration, Words, is_loopback

URL_PATTERN = r"^https?://[^\s/?#]+[^\s#]*$"
_PATTERN = re.compile(URL_PATTERN)
_URLS = ("issuer", "token_url", "authorization_url", "device_authorization_url")
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # RFC 8693, section 3


class ClientSettings(ProxySettings):
    """What an OAuth2 client is, at which server, and what it wants there."""

    grant: str
    issuer: str | None = Field(default=None, pattern=URL_PATTERN)
    token_url: str | None = Field(default=None, pattern=URL_PATTERN)
    authorization_url: str | None = Field(default=None, pattern=URL_PATTERN)
    device_authorization_url: str | None = Field(default=None, pattern=URL_PATTERN)
    client_id: Secret | None = None
    client_secret: Secret | None = None
    client_auth: str = "basic"
    scope: Words | str = ""
    refresh_scope: Literal["auto", "omit", "send"] = "auto"
    audience: str = ""
    resource: Words = ()
    extra: dict[str, str] = Field(default={})
    refresh_token: Secret | None = None
    username: Secret | None = None
    password: Secret | None = None
    key: SecretText | None = None
    algorithm: Algorithm | None = None
    key_id: Secret | None = None
    subject: str | None = None
    claims: dict[str, JsonValue] = Field(default={})
    subject_token: Secret | None = None
    subject_token_type: str = ACCESS_TOKEN
    actor_token: Secret | None = None
    requested_token_type: str | None = None
    dpop: bool = False
    redirect_port: int = Field(default=0, ge=0, le=65535)
    refresh_before: Duration = 60.0
    tls: TlsSettings = TlsSettings()
    insecure: bool = False

    @model_validator(mode="after")
    def _safe(self) -> ClientSettings:
        for key in _URLS:
            if (url := getattr(self, key)) is not None:
                check_url(key, url, insecure=self.insecure)
        if self.issuer is not None and "?" in self.issuer:
            raise ValueError("issuer has a query; right would be the URL that the server calls itself by")
        if not self.tls.verify and not self.insecure:
            raise ValueError("tls.verify = false also needs insecure = true")
        return self

    async def signing_key(self) -> SigningKey:
        """Return ``key``, which signs by ``algorithm`` and is named ``key_id``.

        Raises:
            SecretError: it can't be had, or does not sign so.

        """
        if self.key is None:
            raise SecretError("key is not given")
        key_id = None if self.key_id is None else await self.key_id.get()
        return await signing_key(self.key, lambda text: SigningKey.load(text, self.algorithm, key_id))

    @property
    def server(self) -> str:
        """What names the authorization server: its issuer, or else its token endpoint."""
        return self.issuer or self.token_url or ""

    @property
    def scopes(self) -> str:
        """As requests have it (RFC 6749, section 3.3)."""
        return self.scope if isinstance(self.scope, str) else " ".join(self.scope)

    def wishes(self, *, scope: bool = True) -> list[tuple[str, str]]:
        """What the token is for: scope (if wanted), audience and resources (RFC 6749, section 3.3; RFC 8707)."""
        named = [("scope", self.scopes if scope else ""), ("audience", self.audience)]
        return [*(pair for pair in named if pair[1]), *(("resource", resource) for resource in self.resource)]


def check_url(key: str, text: str, *, insecure: bool) -> None:
    """See that a secret may be sent to a URL.

    Args:
        key: what it is, for people.
        text: the URL.
        insecure: whether plain http beyond this machine is wanted.

    Raises:
        ValueError: it may not.

    """
    try:
        url = httpx.URL(text if _PATTERN.fullmatch(text) else "")
    except httpx.InvalidURL:
        url = httpx.URL()
    if not url.host or "%" in url.host:
        raise ValueError(f"{key} is not a URL")
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise ValueError(f"{key} has a port that there is not")
    if url.userinfo:
        raise ValueError(f"{key} holds a user or password; right would be client_id and client_secret")
    if url.scheme == "http" and not is_loopback(url.host) and not insecure:
        raise ValueError(f"{key} is plain http beyond this machine; right would be https, or insecure = true")
