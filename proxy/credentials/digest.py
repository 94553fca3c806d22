"""HTTP Digest (RFC 7616), as httpx does it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.credentials._foreign import ForeignScheme
from proxy.secrets import Secret


class Digest(Credential):
    """``type = "digest"``."""

    type: Literal["digest"]
    username: Secret
    password: Secret

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return DigestScheme(self)


class DigestScheme(Scheme):
    """Answers the challenge of a 401, and later requests with the challenge that it knows."""

    fields = AUTHORIZATION

    def __init__(self, settings: Digest) -> None:
        self._settings = settings
        self._inner: tuple[tuple[str, str], ForeignScheme] | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        flow = (await self._foreign()).async_auth_flow(request)
        try:
            request = await anext(flow)
            while True:
                response = yield request
                request = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def _foreign(self) -> ForeignScheme:
        account = (await self._settings.username.get(), await self._settings.password.get())
        if self._inner is None or self._inner[0] != account:
            self._inner = account, ForeignScheme(httpx.DigestAuth(*account), blocks=False)
        return self._inner[1]

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._foreign()

    async def explain(self, request: httpx.Request) -> dict[str, str]:  # noqa: ARG002
        """As `Scheme.explain`."""
        await self._foreign()
        return {"note": "Authorization answers the challenge of a 401"}
