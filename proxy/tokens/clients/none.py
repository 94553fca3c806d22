"""By its name alone: a public client (RFC 6749, section 2.1), or one whose name nobody wants to know."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity


class Public(ClientAuthentication):
    """``client_auth = "none"``."""

    name: ClassVar[str] = "none"
    needs: ClassVar[tuple[str, ...]] = ()

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        if client.settings.client_id is None:
            return {}, {}
        return {"client_id": await client.value("client_id")}, {}
