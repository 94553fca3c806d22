"""Header fields as bytes.

``httpx.Headers`` takes texts and encodes them as the other fields happen to be encoded. What is signed has to
be what is sent, and what a client sent has to stay as it was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import httpx

from proxy.errors import CredentialError
from proxy.transport.messages import CONTROL, RawHeaders, replaced

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z\-]+")
# These frame the message or say whose it is; a credential has no business there.
_NOT_OURS = frozenset({"connection", "content-length", "host", "transfer-encoding", "upgrade"})


def is_token(text: str) -> bool:
    """Whether `text` can be the name of a field or a cookie (RFC 9110, section 5.6.2)."""
    return bool(_TOKEN.fullmatch(text))


def check_field_name(name: str) -> None:
    """See that a credential may set the field `name`.

    Raises:
        ValueError: it is no name of a field, or of one that the proxy sets itself.

    """
    if not is_token(name):
        raise ValueError(f"{name!r} is not the name of a header field")
    if name.lower() in _NOT_OURS:
        raise ValueError(f"{name} is set by the proxy itself")


def check_fields(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """See that fields which a stranger's code has made are some; ``httpx.Headers`` takes anything.

    Raises:
        CredentialError: they are none, and could be read as others.

    """
    for name, value in fields:
        if not _TOKEN.fullmatch(name.decode("latin-1")) or CONTROL.search(value):
            raise CredentialError(
                "the credential made a header field that is none: a control character, or a wrong name"
            )


def field_value(request: httpx.Request, name: str, separator: bytes = b", ") -> bytes:
    """Return the values of a field as they are sent, joined; empty if there is none."""
    wanted = name.lower().encode()
    return separator.join(value for key, value in request.headers.raw if key.lower() == wanted)


def set_field(request: httpx.Request, name: str, value: bytes) -> None:
    """Put a field in the place of all of its name."""
    request.headers = RawHeaders(replaced(request.headers.raw, name.encode(), value))


def set_fields(request: httpx.Request, fields: Collection[tuple[bytes, bytes]]) -> None:
    """As `set_field`, for several."""
    raw = request.headers.raw
    if {name.lower() for name, _ in fields}.isdisjoint([name.lower() for name, _ in raw]):
        raw = [*raw, *fields]
    else:
        for name, value in fields:
            raw = replaced(raw, name, value)
    request.headers = RawHeaders(raw)


def remove_field(request: httpx.Request, name: str) -> None:
    """Take out all fields of a name."""
    wanted = name.lower().encode()
    request.headers = RawHeaders([field for field in request.headers.raw if field[0].lower() != wanted])
