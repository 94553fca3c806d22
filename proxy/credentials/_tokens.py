"""Tokens as programs and APIs hand them out: texts and JSON of several kinds, read with care.

Nothing of what could not be read is repeated, not even by an exception's context: it may well be the secret. `now`
is in seconds since the epoch, `what` says to people what is read.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from proxy.errors import CredentialError
from proxy.stores import Token
from proxy.tokens.endpoint import lifetime, positive

Table = Mapping[str, object]

_JSON = ("{", "[", '"')  # no token begins so
_TOKEN = re.compile(r"[!-~]+")  # what can stand in a header field
_MILLISECONDS = 1e11  # a date above it is not in seconds …
_ABSURD = 1e15  # … and one above this is none


def from_text(text: str, now: float, what: str) -> Token:
    """Read what a program printed.

    That is a token, also as a JSON string, or a JSON object that has one in a place of `_SHAPES` or, if it is an
    ExecCredential of Kubernetes, in ``status.token``.

    Raises:
        CredentialError: it is none of these, or AWS access keys, which are no bearer token.

    """
    text = text.strip()
    if not text.startswith(_JSON):
        return _made(text, None, now, what)
    table: object = None
    with suppress(ValueError, RecursionError):
        table = json.loads(text)
    if isinstance(table, str):  # az account get-access-token --query accessToken
        return _made(table, None, now, what)
    if isinstance(table, list):
        raise CredentialError(f"{what} is a JSON array; expected an object with a token, or the token as text")
    if not isinstance(table, dict):
        raise CredentialError(f"{what} is no JSON, though it begins so")
    if table.get("kind") == "ExecCredential":
        return _exec_credential(table, now, what)
    if _at(table, "AccessKeyId") is not None or _at(table, "Credentials.AccessKeyId") is not None:
        raise CredentialError(
            f"{what} is AWS access keys, which sign requests and are no bearer token; "
            "expected a program that prints a token"
        )
    for path, read_expiry in _SHAPES:
        value = _at(table, path)
        if value is not None:
            return _made(value, read_expiry(table, now), now, what)
    looked_for = ", ".join(path for path, _ in _SHAPES)
    raise CredentialError(f"{what} holds no token: it has none of the keys {looked_for}, and is no ExecCredential")


def _at(table: Table, path: str) -> object:
    """Return what a dotted path leads to, None if it leads nowhere."""
    value: object = table
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _expiry(table: Table, now: float) -> float | None:
    life = lifetime(table.get("expires_in"))
    return epoch(table.get("expires_at")) if life is None else now + life


def _databricks_expiry(table: Table, now: float) -> float | None:
    """Of a token that may have been kept for a while: the date counts, not its whole life."""
    date = epoch(table.get("expiry"))
    return _expiry(table, now) if date is None else date


def _azure_expiry(table: Table, now: float) -> float | None:  # noqa: ARG001  # as the others
    """``expires_on``; before version 2.54 there is ``expiresOn`` only, a date in this machine's time zone."""
    date = epoch(table.get("expires_on"))
    if date is None:
        with suppress(ValueError, TypeError, OverflowError, OSError):
            return datetime.fromisoformat(str(table.get("expiresOn"))).timestamp()
    return date


# Where programs put a token, and how they say when it expires.
_SHAPES: tuple[tuple[str, Callable[[Table, float], float | None]], ...] = (
    ("token", _expiry),
    ("access_token", _databricks_expiry),  # databricks auth token
    ("accessToken", _azure_expiry),  # az account get-access-token
    ("credential.access_token", lambda table, _: epoch(_at(table, "credential.token_expiry"))),  # gcloud config-helper
    ("authorizationToken", lambda table, _: epoch(table.get("expiration"))),  # aws codeartifact
)


def from_table(table: Table, now: float, what: str) -> Token:
    """Read ``{"token" / "access_token", "expires_in" / "expires_at"}``.

    Raises:
        CredentialError: it has no such token, or one that is over.

    """
    return _made(table.get("token", table.get("access_token")), _expiry(table, now), now, what)


def from_id_token(value: object, now: float, what: str) -> Token:
    """Read a JWT, whose expiry stands in it (RFC 7519, section 4.1.4); it is not verified: that is the API's part.

    Raises:
        CredentialError: it is none, or it is over.

    """
    claims: object = None
    if isinstance(value, str) and value.count(".") == 2:
        payload = value.split(".")[1]
        with suppress(ValueError, RecursionError):
            claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    if not isinstance(claims, dict):
        raise CredentialError(f"{what} holds no JWT")
    return _made(value, epoch(claims.get("exp")), now, what)


def _exec_credential(table: Table, now: float, what: str) -> Token:
    """``client.authentication.k8s.io``."""
    status = table.get("status")
    if not isinstance(status, dict) or "token" not in status:
        raise CredentialError(f"{what} is an ExecCredential without a token; right would be one with status.token")
    return _made(status["token"], epoch(status.get("expirationTimestamp")), now, what)


def _made(value: object, expires_at: float | None, now: float, what: str) -> Token:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise CredentialError(f"{what} holds no token: right would be printable ASCII without spaces")
    if expires_at is not None and expires_at <= now:
        raise CredentialError(f"{what} is a token that has expired")
    return Token(value, expires_at, obtained_at=now)


def epoch(value: object) -> float | None:
    """Seconds since the epoch that a date says, or None if it is missing or says nothing sensible.

    It may be a number, in seconds or milliseconds, or a text by RFC 3339; without a zone that is UTC.
    """
    if isinstance(value, str):
        try:
            date = datetime.fromisoformat(value)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            pass  # a number, perhaps
    seconds = positive(value)
    if seconds is None or seconds >= _ABSURD:
        return None
    return seconds / 1000 if seconds > _MILLISECONDS else seconds
