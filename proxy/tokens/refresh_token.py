"""A refresh token that somebody else obtained (RFC 6749, section 6); later ones are kept in the store."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Client, Grant


class RefreshToken(Grant):
    """``grant = "refresh_token"``."""

    name: ClassVar[str] = "refresh_token"
    needs: ClassVar[tuple[str, ...]] = ("refresh_token",)
    for_users: ClassVar[bool] = True
    refreshes: ClassVar[bool] = True

    async def form(self, client: Client) -> dict[str, str]:
        """As `Grant.form`."""
        return {"grant_type": self.name, "refresh_token": await client.value("refresh_token")}

    async def owner(self, client: Client) -> list[str]:
        """As `Grant.owner`: another first refresh token is somebody else's."""
        return [await client.value("refresh_token")]
