"""The client is its own owner (RFC 6749, section 4.4)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client, Grant


class ClientCredentials(Grant):
    """``grant = "client_credentials"``."""

    name: ClassVar[str] = "client_credentials"

    async def form(self, client: Client) -> dict[str, str]:  # noqa: ARG002
        """As `Grant.form`."""
        return {"grant_type": self.name}
