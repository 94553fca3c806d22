"""A bearer JWT that is signed here (RFC 7519)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal
from uuid import uuid4

import httpx
from pydantic import Field, JsonValue, field_validator

from proxy import keys
from proxy.credentials import Context, LoadKey, Scheme
from proxy.credentials._renewing import Renewable, TokenScheme
from proxy.keys import Algorithm, SigningKey
from proxy.secrets import SecretText
from proxy.stores import Token
from proxy.tokens.signing import signing_key
from proxy.values import Duration

_OURS = ("iat", "exp", "jti")


class Jwt(Renewable):
    """``type = "jwt"``; ``key`` is a private key as PEM or JWK, or a secret that both sides know."""

    type: Literal["jwt"]
    key: SecretText
    algorithm: Algorithm | None = None
    claims: dict[str, JsonValue] = Field(default={})
    headers: dict[str, JsonValue] = Field(default={})
    ttl: Duration = Field(default=300.0, ge=1)

    @field_validator("claims")
    @classmethod
    def _not_ours(cls, claims: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in _OURS:
            if name in claims:
                raise ValueError(f"{name} is set here; right would be no such claim, and ttl for how long it is valid")
        return claims

    @field_validator("headers")
    @classmethod
    def _not_the_algorithm(cls, headers: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if "alg" in headers:
            raise ValueError("alg is set here; right would be algorithm, beside headers")
        return headers

    def prepare(self) -> None:
        """As `Credential.prepare`."""
        keys.prepare()

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return JwtScheme(self, context)

    async def signing_key(self) -> SigningKey:
        """Return ``key``.

        Raises:
            SecretError: it can't be had, or does not sign by ``algorithm``.

        """
        return await signing_key(self.key, partial(SigningKey.load, algorithm=self.algorithm, plain=True))

    def signing_keys(self) -> Iterator[tuple[str, LoadKey]]:
        """As `Credential.signing_keys`."""
        yield "key", self.signing_key


class JwtScheme(TokenScheme):
    """Sends the JWT; signs another one before it expires, and when the API refuses it."""

    def __init__(self, settings: Jwt, context: Context) -> None:
        super().__init__(settings, context)
        self._jwt = settings
        keys.prepare()

    async def facts(self) -> list[object]:
        """As `TokenScheme.facts`. A secret that may be a short one leaves no trace in a name."""
        settings, key = self._jwt, await self._jwt.signing_key()
        which = key.algorithm if key.algorithm.startswith("HS") else key.thumbprint()
        return [which, settings.algorithm, settings.claims, settings.headers, settings.ttl]

    async def fetch(self) -> Token:
        """As `TokenScheme.fetch`."""
        key = await self._jwt.signing_key()
        now = int(self._clock.time())
        expires_at = now + int(self._jwt.ttl)
        claims = {**self._jwt.claims, "iat": now, "exp": expires_at, "jti": uuid4().hex}
        return Token(key.sign(claims, self._jwt.headers), expires_at, obtained_at=now)

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`: signs nothing."""
        await super().explain(request)
        key = await self._jwt.signing_key()
        return {"token": f"signed here by {key.algorithm}, valid for {self._jwt.ttl:g} s"}
