"""HTTP Basic (RFC 7617)."""

from __future__ import annotations

from base64 import b64encode
from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.secrets import Secret


class Basic(Credential):
    """``type = "basic"``."""

    type: Literal["basic"]
    username: Secret
    password: Secret

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return BasicScheme(self)


class BasicScheme(Scheme):
    """Sends user name and password, as UTF-8."""

    fields = AUTHORIZATION

    def __init__(self, settings: Basic) -> None:
        self._settings = settings
        self._made: tuple[str, str, str] = ("", "", "")

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        username, password = await self._settings.username.get(), await self._settings.password.get()
        if self._made[:2] != (username, password):
            encoded = b64encode(f"{username}:{password}".encode()).decode()
            self._made = (username, password, f"Basic {encoded}")
        request.headers["Authorization"] = self._made[2]

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.username.get()
        await self._settings.password.get()
