"""What the API saw of a request, with credentials masked, so that it may be shown to anybody."""

from __future__ import annotations

import re

from proxy.demo.call import Call

_SECRET_FIELD = re.compile(
    r"authorization|cookie|token|secret|password|api[-_]?key|signature|credential", re.IGNORECASE
)
_SECRET_PARAMETER = re.compile(r"([^&]*(?:token|secret|password|key|sig|auth)[^&=]*=)([^&]+)", re.IGNORECASE)


def mask(value: str) -> str:
    """Leave a scheme and one character of a credential: ``Bearer d***``."""
    scheme, space, rest = value.partition(" ")
    return f"{scheme} {rest.lstrip()[:1]}***" if space else f"{value[:1]}***"


def masked_query(query: str) -> str:
    """Mask the values of parameters whose names sound like credentials."""
    return _SECRET_PARAMETER.sub(lambda match: match[1] + mask(match[2].replace(" ", "+")), query)


async def sight(call: Call, authenticated: str) -> dict[str, object]:
    """Return what the API saw; bytes of fields that are no UTF-8 are written as ``\\xNN``."""
    body = await call.body()
    return {
        "request": call.number,
        "authenticated": authenticated,
        "method": call.method,
        "path": call.path,
        "query": masked_query(call.query),
        "headers": _headers(call),
        "body": {"size": body.size, "sha256": body.sha256} if call.request.body_exists else None,
    }


def _headers(call: Call) -> dict[str, str | list[str]]:
    """Return the fields as they were spelled; those that came several times as a list."""
    names: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in call.request.raw_headers:
        name, value = (raw.decode("utf-8", "backslashreplace") for raw in (raw_name, raw_value))
        name = names.setdefault(name.lower(), name)
        values.setdefault(name, []).append(mask(value) if _SECRET_FIELD.search(name) else value)
    return {name: several[0] if len(several) == 1 else several for name, several in values.items()}
