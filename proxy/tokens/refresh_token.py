"""A refresh token that somebody else obtained (RFC 6749, section 6); later ones are kept in the store."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Grant, Keys


class RefreshToken(Grant):
    """``grant = "refresh_token"``."""

    name: ClassVar[str] = "refresh_token"
    needs: ClassVar[tuple[str, ...]] = ("refresh_token",)

    async def form(self, keys: Keys) -> dict[str, str]:
        """As `Grant.form`."""
        return {"grant_type": self.name, "refresh_token": await keys("refresh_token")}
