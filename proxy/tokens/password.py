"""The owner's password (RFC 6749, section 4.3); its refresh token is used where there is one."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Grant, Keys


class Password(Grant):
    """``grant = "password"``."""

    name: ClassVar[str] = "password"
    needs: ClassVar[tuple[str, ...]] = ("username", "password")

    async def form(self, keys: Keys) -> dict[str, str]:
        """As `Grant.form`."""
        return {
            "grant_type": self.name,
            "username": await keys("username"),
            "password": await keys("password"),
        }
