"""What pages of allowed origins need to read answers (Fetch standard, CORS protocol).

The proxy answers preflights itself, and its fields stand in place of the upstream's.
"""

from __future__ import annotations

from proxy.gateway import Answer, Head, RawHeaders

_PREFIX = b"access-control-"


def preflight(head: Head, origin: bytes) -> Answer:
    """Return the answer to a preflight of an allowed origin."""
    fields: RawHeaders = [
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Allow-Methods", head.first(b"access-control-request-method") or b""),
        (b"Access-Control-Max-Age", b"600"),
        (b"Vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    ]
    wanted = head.special.get(b"access-control-request-headers")
    if wanted:
        fields.append((b"Access-Control-Allow-Headers", b", ".join(wanted)))
    if b"access-control-request-private-network" in head.special:
        fields.append((b"Access-Control-Allow-Private-Network", b"true"))
    return Answer(204, fields)


def readable(fields: RawHeaders, origin: bytes) -> RawHeaders:
    """Return an answer's fields such that the page of `origin` may read all of it."""
    kept = [field for field in fields if not field[0].lower().startswith(_PREFIX)]
    names = dict.fromkeys(name.lower() for name, _ in kept)
    return [
        *kept,
        (b"Access-Control-Allow-Origin", origin),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Access-Control-Expose-Headers", b", ".join(names)),
        (b"Vary", b"Origin"),
    ]
