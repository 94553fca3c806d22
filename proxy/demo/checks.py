"""The checks of ``/basic``, ``/bearer`` and ``/oauth2``: is the caller who they should be?

A check returns a sentence about what it found, for the answer, or raises a Refusal. Secrets are compared in
constant time. A caller without any credential is not told an error code (RFC 6750, section 3.1).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from hmac import compare_digest

from proxy.demo import accounts
from proxy.demo.call import Call
from proxy.demo.refusal import Refusal
from proxy.demo.vault import TokenError, Vault

#: Looks at a call and returns a sentence about the caller; raises Refusal.
Check = Callable[[Call], Awaitable[str]]

BASIC_CHALLENGE = 'Basic realm="demo"'
BEARER_CHALLENGE = 'Bearer realm="demo"'

_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


def same(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode())


def basic_pair(credentials: str) -> tuple[str, str] | None:
    """Return the user-id and password of HTTP Basic (RFC 7617), or None if there are none in it."""
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon else None


async def basic(call: Call) -> str:
    """Want HTTP Basic."""
    scheme, credentials = call.credentials()
    username, password = (basic_pair(credentials) if scheme == "basic" else None) or ("", "")
    # Both are always compared: the time tells nothing about which one was wrong.
    if same(username, accounts.USERNAME) & same(password, accounts.PASSWORD):
        return f"HTTP Basic, user {accounts.USERNAME}"
    raise Refusal(
        401,
        "unauthorized",
        "This area wants HTTP Basic with the demo's user and password.",
        headers={"WWW-Authenticate": BASIC_CHALLENGE},
    )


def bearer_token(call: Call) -> str:
    """Return the bearer token of ``Authorization`` (RFC 6750, section 2.1).

    Raises:
        Refusal: there is none (401), or it is malformed (400).

    """
    try:
        scheme, token = call.credentials()
    except Refusal as error:
        raise _refused(400, "invalid_request", error.hint) from None
    if scheme != "bearer":
        raise Refusal(
            401,
            "unauthorized",
            "This area wants Authorization: Bearer TOKEN.",
            headers={"WWW-Authenticate": BEARER_CHALLENGE},
        )
    if not _B64TOKEN.fullmatch(token):
        raise _refused(400, "invalid_request", "What follows Bearer is not a token.")
    return token


async def bearer(call: Call) -> str:
    """Want the static bearer token."""
    if not same(bearer_token(call), accounts.BEARER_TOKEN):
        raise _refused(401, "invalid_token", "The token is not the demo's bearer token.")
    return "static bearer token"


class AccessTokenCheck:
    """Wants an access token that the vault has issued and still honours."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def __call__(self, call: Call) -> str:
        """Count one use of the call's token."""
        try:
            return self._vault.use(bearer_token(call))
        except TokenError as error:
            raise _refused(401, "invalid_token", str(error)) from None


def _refused(status: int, error: str, description: str) -> Refusal:
    challenge = f'{BEARER_CHALLENGE}, error="{error}", error_description="{description}"'
    return Refusal(status, error, description, headers={"WWW-Authenticate": challenge})
