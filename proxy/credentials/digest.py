"""HTTP Digest (RFC 7616), as httpx does it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme
from proxy.credentials._foreign import ForeignScheme
from proxy.errors import CountersignError
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
    """Answers the challenge of a 401, and later requests with the challenge that it knows.

    A challenge that can't be answered, or whose answer was refused, is forgotten: otherwise each request would
    begin with it, and a wrong password be tried twice for each.
    """

    fields = AUTHORIZATION

    def __init__(self, settings: Digest) -> None:
        self._settings = settings
        self._known: tuple[tuple[str, str], ForeignScheme] | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        known = await self._foreign()
        flow = known[1].async_auth_flow(request)
        response: httpx.Response | None = None
        try:
            following = await anext(flow)
            while True:
                response = yield following
                following = await flow.asend(response)
        except StopAsyncIteration:
            if response is not None and response.status_code == 401:
                self._forget(known)
        except CountersignError:
            self._forget(known)
            raise
        finally:
            await flow.aclose()

    async def _foreign(self) -> tuple[tuple[str, str], ForeignScheme]:
        account = (await self._settings.username.get(), await self._settings.password.get())
        if self._known is None or self._known[0] != account:
            self._known = account, ForeignScheme(httpx.DigestAuth(*account))
        return self._known

    def _forget(self, known: tuple[tuple[str, str], ForeignScheme]) -> None:
        if self._known is known:
            self._known = None

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._foreign()

    async def explain(self, request: httpx.Request) -> dict[str, str]:  # noqa: ARG002
        """As `Scheme.explain`."""
        await self._foreign()
        return {"note": "Authorization answers the challenge of a 401"}
