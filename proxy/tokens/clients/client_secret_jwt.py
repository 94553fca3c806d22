"""By a JWT that its secret signs (RFC 7523; OpenID Connect Core, section 9)."""

from __future__ import annotations

from typing import ClassVar

from proxy.keys import Algorithm, SigningKey
from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity
from proxy.tokens.clients._assertion import assertion
from proxy.tokens.settings import ClientSettings


class ClientSecretJwt(ClientAuthentication):
    """``client_auth = "client_secret_jwt"``."""

    name: ClassVar[str] = "client_secret_jwt"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "client_secret")

    @classmethod
    def check(cls, settings: ClientSettings) -> None:
        """As `ClientAuthentication.check`."""
        algorithm = _algorithm(settings)
        if algorithm is not None and not algorithm.startswith("HS"):
            raise ValueError("algorithm is none for a shared secret; right would be HS256, HS384 or HS512")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        secret = await client.value("client_secret")
        return await assertion(client, SigningKey.shared(secret, _algorithm(client.settings)))


def _algorithm(settings: ClientSettings) -> Algorithm | None:
    return None if settings.grant == "jwt_bearer" else settings.algorithm  # there it is the grant's own JWT's
