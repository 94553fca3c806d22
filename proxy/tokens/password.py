"""The owner's password (RFC 6749, section 4.3); its refresh token is used where there is one."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client, Grant


class Password(Grant):
    """``grant = "password"``."""

    name: ClassVar[str] = "password"
    needs: ClassVar[tuple[str, ...]] = ("username", "password")

    async def form(self, client: Client) -> dict[str, str]:
        """As `Grant.form`."""
        return {
            "grant_type": self.name,
            "username": await client.value("username"),
            "password": await client.value("password"),
        }

    async def owner(self, client: Client) -> list[str]:
        """As `Grant.owner`."""
        return [await client.value("username")]
