"""A user's right, granted in a browser (RFC 6749, section 4.1)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Interactive


class AuthorizationCode(Interactive):
    """``grant = "authorization_code"``."""

    name: ClassVar[str] = "authorization_code"
    urls: ClassVar[tuple[str, ...]] = ("authorization_url", "token_url")
