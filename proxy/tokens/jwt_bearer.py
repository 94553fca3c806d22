"""A JWT that says whose right is wanted, signed here (RFC 7523, section 2.1)."""

from __future__ import annotations

import json
from typing import ClassVar
from uuid import uuid4

from proxy.tokens import Client, Grant

LIFE = 60  # seconds


class JwtBearer(Grant):
    """``grant = "jwt_bearer"``."""

    name: ClassVar[str] = "jwt_bearer"
    needs: ClassVar[tuple[str, ...]] = ("key",)

    async def form(self, client: Client) -> dict[str, str]:
        """As `Grant.form`."""
        key = await client.signing_key()
        client_id = await client.value("client_id")
        now = int(client.clock.time())
        claims: dict[str, object] = {
            "iss": client_id,
            "sub": client.settings.subject or client_id,
            "aud": client.token_url,
            "iat": now,
            "exp": now + LIFE,
            "jti": uuid4().hex,
        }
        assertion = key.sign(claims | client.settings.claims)
        return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}

    async def owner(self, client: Client) -> list[str]:
        """As `Grant.owner`."""
        return [client.settings.subject or "", json.dumps(client.settings.claims, sort_keys=True)]
