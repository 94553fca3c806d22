"""A bearer token that somebody else made (RFC 6750)."""

from __future__ import annotations

from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.credentials._fields import set_field
from proxy.secrets import Secret


class Bearer(Credential):
    """``type = "bearer"``."""

    type: Literal["bearer"]
    token: Secret

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return BearerScheme(self)


class BearerScheme(Scheme):
    """Sends the token."""

    fields = AUTHORIZATION

    def __init__(self, settings: Bearer) -> None:
        self._settings = settings

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        set_field(request, "Authorization", f"Bearer {await self._settings.token.get()}".encode())

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.token.get()
