"""A user's right, granted on another device (RFC 8628)."""

from __future__ import annotations

from typing import ClassVar

from proxy.tokens import Interactive


class DeviceCode(Interactive):
    """``grant = "device_code"``."""

    name: ClassVar[str] = "device_code"
    urls: ClassVar[tuple[str, ...]] = ("device_authorization_url", "token_url")
