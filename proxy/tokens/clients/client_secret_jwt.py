"""By a JWT that its secret signs (RFC 7523; OpenID Connect Core, section 9)."""

from __future__ import annotations

from typing import ClassVar

from proxy.keys import SigningKey
from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity
from proxy.tokens.clients._assertion import assertion


class ClientSecretJwt(ClientAuthentication):
    """``client_auth = "client_secret_jwt"``."""

    name: ClassVar[str] = "client_secret_jwt"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "client_secret")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        algorithm = client.settings.algorithm if client.settings.grant != "jwt_bearer" else None
        return await assertion(client, SigningKey.shared(await client.value("client_secret"), algorithm))
