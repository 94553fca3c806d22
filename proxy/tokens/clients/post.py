"""By a secret in the form (RFC 6749, section 2.3.1)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity


class Post(ClientAuthentication):
    """``client_auth = "post"``."""

    name: ClassVar[str] = "post"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "client_secret")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        return {key: await client.value(key) for key in self.needs}, {}
