"""By the certificate that it shows in the TLS handshake (RFC 8705, section 2)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity


class Tls(ClientAuthentication):
    """``client_auth = "tls"``: of the form only the name."""

    name: ClassVar[str] = "tls"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "tls")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        return {"client_id": await client.value("client_id")}, {}
