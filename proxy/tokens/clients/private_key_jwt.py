"""By a JWT that its private key signs (RFC 7523; OpenID Connect Core, section 9)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity
from proxy.tokens.clients._assertion import assertion


class PrivateKeyJwt(ClientAuthentication):
    """``client_auth = "private_key_jwt"``."""

    name: ClassVar[str] = "private_key_jwt"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "key")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        return await assertion(client, await client.signing_key())
