"""A token as a token endpoint gave it, and as a store keeps it. Nothing here asks a clock."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """An access token with what belongs to it (RFC 6749, section 5.1); shows itself masked only.

    Attributes:
        access_token: what the API is sent.
        expires_at: wall-clock seconds since the epoch, or None when that is unknown.
        refresh_token: what gets the next one, or None.
        scope: as granted, or None when the endpoint didn't say.
        token_type: the scheme in front of it.
        obtained_at: wall-clock seconds since the epoch.
        dpop_key: the private JWK that both tokens are bound to (RFC 9449), or None.
        refresh_with_scope: whether the server wants ``scope`` when the token is refreshed (``refresh_scope = "auto"``).

    Raises:
        ValueError: there is no access token, or a time is not finite.

    """

    access_token: str
    expires_at: float | None
    refresh_token: str | None = None
    scope: str | None = None
    token_type: str = "Bearer"  # noqa: S105  # a scheme, not a password
    obtained_at: float = 0.0
    dpop_key: str | None = None
    refresh_with_scope: bool = False

    def __post_init__(self) -> None:
        if not self.access_token:
            raise ValueError("access_token is empty")
        if self.expires_at is not None and not math.isfinite(self.expires_at):
            raise ValueError("expires_at is not finite")
        if not math.isfinite(self.obtained_at):
            raise ValueError("obtained_at is not finite")

    @property
    def fingerprint(self) -> str:
        """Tells tokens apart without showing them: 8 hexadecimal digits of the access token's SHA-256."""
        # JSON may bring lone surrogates, which strict UTF-8 has no bytes for.
        return hashlib.sha256(self.access_token.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Token({self.fingerprint}, expires_at={self.expires_at!r}, scope={self.scope!r})"

    def with_refresh_token(self, refresh_token: str) -> Token:
        """Return the same with another refresh token."""
        return replace(self, refresh_token=refresh_token)

    def to_json(self) -> dict[str, object]:
        """All of it, secrets included, as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> Token:
        """Take back what `to_json` gave; fields that are not known here are ignored.

        Raises:
            ValueError: a field is missing or not what it should be; its value is not told.

        """
        return cls(
            access_token=_text(fields, "access_token") or "",
            expires_at=_seconds(fields, "expires_at"),
            refresh_token=_text(fields, "refresh_token"),
            scope=_text(fields, "scope"),
            token_type=_text(fields, "token_type") or "Bearer",
            obtained_at=_seconds(fields, "obtained_at") or 0.0,
            dpop_key=_text(fields, "dpop_key"),
            refresh_with_scope=fields.get("refresh_with_scope") is True,
        )


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _seconds(fields: Mapping[str, object], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is not finite") from None
