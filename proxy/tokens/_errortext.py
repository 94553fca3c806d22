"""The error that a server's response reports, as it may be shown (RFC 6749, section 5.2).

Such a text comes from outside: it may repeat a secret, forge a line of the log or control a terminal. Pure.
"""

from __future__ import annotations

import html
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from proxy.log import mask

LONGEST = 300  # characters of what is shown
MOST = 1 << 14  # characters that are looked at
MOST_SECRET = 2 * MOST  # characters of all secrets together; to search for more takes too long
MASK = "***"

_CODES = ("code", "status", "type", "error")
_TEXTS = ("error_description", "message", "msg", "error_message", "errorMessage", "errorSummary", "detail", "title")

# ECMA-48: control sequences, control strings with their text, and other escape sequences.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
_SHORT = 8  # characters; a shorter secret is masked as a whole word only
_PART = re.compile(r"[\w+/=-]{16,}", re.ASCII)  # of a key in several lines
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![\w-])"  # servers name their requests so
_OPAQUE = re.compile(
    rf"(?<![\w~+=-])(?!{_UUID})(?=[A-Za-z_~+=-]*\d)(?=[\d_~+=-]*[A-Za-z])[\w~+=-]{{20,}}", re.ASCII | re.IGNORECASE
)


def error_of(table: Mapping[str, object]) -> tuple[str, str]:
    """Return the error code and the description in a response.

    The code is empty if the response reports no error. ``error`` may be a text, or an object with a code and a message
    of its own; some APIs use ``ok`` or ``success`` instead.
    """
    error = _first(table.get("error"))
    failed = table.get("ok") is False
    if not error and "access_token" not in table:
        error = _first(table.get("errors"))
        failed = failed or table.get("success") is False
    inner = error if isinstance(error, Mapping) else {}
    description = _text(table, _TEXTS[:1]) or _text(inner, _TEXTS) or _text(table, _TEXTS)
    if isinstance(error, str):
        return error.strip(), description
    if inner:
        return _text(inner, _CODES) or _number(inner) or "error", description
    if error:
        return "error" if isinstance(error, bool) else f"error {error}", description
    return ("ok: false" if failed else ""), description


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


def _text(table: Mapping[str, object], names: Iterable[str]) -> str:
    """Return the first text that is not empty under one of the names."""
    values = (table.get(name) for name in names)
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def _number(table: Mapping[str, object]) -> str:
    code = table.get("code")
    return str(code) if isinstance(code, int) and not isinstance(code, bool) else ""


def shown(text: str, secrets: Collection[str] = ()) -> str:
    """Return a text in one line of at most `LONGEST` characters, without control characters and secrets.

    Args:
        text: comes from outside.
        secrets: what is masked in it, also where it is encoded; beside them, what looks like a secret is masked.

    """
    if sum(map(len, secrets)) > MOST_SECRET:
        return "…"  # a response can hold a megabyte of what may be tokens
    pattern = _pattern(secrets)
    is_cut, text = len(text) > MOST, text[:MOST]
    text = pattern.sub(MASK, _ESCAPE.sub("", text))
    text = "".join(char if char.isprintable() else " " * char.isspace() for char in text)
    text = pattern.sub(MASK, " ".join(text.split()))  # again: a control character may have split one
    text = _OPAQUE.sub(MASK, mask(text))
    if is_cut and len(text) < MOST // 2:
        return "…"  # its end, which may be the beginning of a secret, has moved to the front
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _pattern(secrets: Collection[str]) -> re.Pattern[str]:
    forms = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
    alternatives = [
        re.escape(form) if len(form) >= _SHORT else rf"(?<![^\W_]){re.escape(form)}(?![^\W_])"
        for form in sorted(forms, key=len, reverse=True)
        if form.strip()
    ]
    return re.compile("|".join(alternatives) or r"(?!)", re.IGNORECASE)


def _parts(secret: str) -> Iterator[str]:
    """Return a secret, or the parts of one that is a PEM file or JSON."""
    yield secret
    if "\n" in secret or secret.startswith("{"):
        yield from _PART.findall(secret.replace("\\n", "\n"))


def _forms(secret: str) -> Iterator[str]:
    """Return a secret as it is and as it may be encoded."""
    raw = secret.encode("utf-8", "surrogatepass")
    yield from (secret, quote(raw, safe=""), quote_plus(raw), html.escape(secret))
    if len(raw) >= _SHORT:
        yield from (b64encode(raw).decode().rstrip("="), urlsafe_b64encode(raw).decode().rstrip("="))
