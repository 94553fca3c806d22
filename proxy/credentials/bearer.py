"""A bearer token that somebody else made (RFC 6750)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Scheme
from proxy.credentials._fields import set_field
from proxy.credentials._renewing import Renewable
from proxy.secrets import Secret


class Bearer(Renewable):
    """``type = "bearer"``."""

    type: Literal["bearer"]
    token: Secret

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return RereadScheme(self) if self.token.may_change else BearerScheme(self)


class BearerScheme(Scheme):
    """Sends a token that never changes."""

    fields = AUTHORIZATION

    def __init__(self, settings: Bearer) -> None:
        self._settings = settings
        self._value = b""  # of the field, once the token was had

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        if not self._value:
            self._value = f"Bearer {await self._settings.token.get()}".encode()
        set_field(request, "Authorization", self._value)

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.token.get()


class RereadScheme(Scheme):
    """Reads the token anew when the API refuses it, and repeats the request if it is another one."""

    fields = AUTHORIZATION

    def __init__(self, settings: Bearer) -> None:
        self._settings = settings
        self.reads_body = settings.unauthorized.reads_body

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        _put(request, await self._settings.token.get())

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.token.get()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        token = await self._settings.token.get()
        _put(request, token)
        response = yield request
        if await self._settings.unauthorized.matches(response):
            renewed = await self._settings.token.renewed(token)
            if renewed != token:
                _put(request, renewed)
                request.extensions["notes"] = ["renewed token"]
                yield request


def _put(request: httpx.Request, token: str) -> None:
    set_field(request, "Authorization", f"Bearer {token}".encode())
