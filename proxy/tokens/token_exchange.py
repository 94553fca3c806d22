"""Somebody's token for another one (RFC 8693)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import ClassVar

from proxy.tokens import Client, Grant

_WHO = ("iss", "sub", "aud", "client_id", "azp")  # of a JWT, what stays the same when it is renewed


class TokenExchange(Grant):
    """``grant = "token_exchange"``."""

    name: ClassVar[str] = "token_exchange"
    needs: ClassVar[tuple[str, ...]] = ("subject_token",)
    anonymous: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("n_a",)  # RFC 8693, section 2.2.1: it is no access token, but was asked for

    async def form(self, client: Client) -> dict[str, str]:
        """As `Grant.form`; an actor's token is of the subject's type."""
        settings = client.settings
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": await client.value("subject_token"),
            "subject_token_type": settings.subject_token_type,
        }
        if settings.actor_token is not None:
            form["actor_token"] = await client.value("actor_token")
            form["actor_token_type"] = settings.subject_token_type
        if settings.requested_token_type is not None:
            form["requested_token_type"] = settings.requested_token_type
        return form

    async def owner(self, client: Client) -> list[str]:
        """As `Grant.owner`: platforms write a workload's token anew every few minutes, for the same owner."""
        given = [key for key in ("subject_token", "actor_token") if getattr(client.settings, key) is not None]
        return [*[_who(await client.value(key)) for key in given], client.settings.requested_token_type or ""]


def _who(token: str) -> str:
    """Return what says whose a token is: some claims of a JWT, all of any other one."""
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return token
    return json.dumps([claims.get(name) for name in _WHO]) if isinstance(claims, dict) and "sub" in claims else token
