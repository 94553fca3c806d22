"""HTTP Basic (RFC 7617)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Literal

import httpx

from proxy.credentials import AUTHORIZATION, Context, Credential, Scheme, SecretKey
from proxy.errors import CredentialError
from proxy.secrets import Secret, Source


class Basic(Credential):
    """``type = "basic"``; one of the two may be ``""``, as for APIs that want a key and no password."""

    type: Literal["basic"]
    username: Secret
    password: Secret

    def secrets(self) -> Iterator[tuple[SecretKey, Source]]:
        """As `Credential.secrets`, without one that is meant to be empty."""
        return ((key, source) for key, source in super().secrets() if not source.is_blank)

    async def account(self) -> tuple[str, str]:
        """Return user name and password.

        Raises:
            SecretError: one can't be had.
            CredentialError: they could be taken for others (RFC 7617, section 2).

        """
        username, password = await _text(self.username), await _text(self.password)
        if ":" in username:
            raise CredentialError("the username holds a colon, which HTTP Basic can't tell from the one behind it")
        return username, password

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return BasicScheme(self)


async def _text(source: Source) -> str:
    return "" if source.is_blank else await source.get()


class BasicScheme(Scheme):
    """Sends user name and password, as UTF-8."""

    fields = AUTHORIZATION

    def __init__(self, settings: Basic) -> None:
        self._settings = settings
        self._made: tuple[tuple[str, str], str] = (("", ""), "Basic Og==")

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        account = await self._settings.account()
        if self._made[0] != account:
            encoded = b64encode(":".join(account).encode()).decode()
            self._made = (account, f"Basic {encoded}")
        request.headers["Authorization"] = self._made[1]

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.account()
