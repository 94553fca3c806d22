"""By HTTP Basic, form-encoded first (RFC 6749, section 2.3.1)."""

from __future__ import annotations

from base64 import b64encode
from typing import ClassVar
from urllib.parse import quote_plus

from proxy.tokens import Client
from proxy.tokens.clients import ClientAuthentication, Identity


class Basic(ClientAuthentication):
    """``client_auth = "basic"``."""

    name: ClassVar[str] = "basic"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "client_secret")

    async def identify(self, client: Client) -> Identity:
        """As `ClientAuthentication.identify`."""
        # Both are form-encoded before they are joined, which most clients forget and strict servers want.
        client_id, secret = [quote_plus(await client.value(key)) for key in self.needs]
        return {}, {"Authorization": "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()}
