"""Parameters that a credential adds to a target, whose other bytes stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_plus

import httpx

_PAIR = re.compile(rb"[&;]?[^&;]*")


def with_query(request: httpx.Request, pairs: Iterable[tuple[str, str]], safe: str = "") -> None:
    """Add `pairs` at the end of the target; the client's of the same names make way.

    The client's are found however they are encoded, and behind ``;``, too: some servers separate there.
    """
    pairs = list(pairs)
    names = {name for name, _ in pairs}
    target: bytes = request.extensions["target"]
    path, mark, query = target.partition(b"?")
    kept = [pair for pair in _PAIR.findall(query) if pair and _name(pair) not in names]
    query = b"".join(kept)
    if kept and not _starts_query(mark, query):
        query = query[1:]
    added = "&".join(f"{quote(name, safe='')}={quote(value, safe=safe)}" for name, value in pairs).encode()
    if added:
        query = query + b"&" + added if query and not query.endswith((b"&", b";")) else query + added
    request.extensions["target"] = path + (b"?" + query if query or mark else b"")


def _starts_query(mark: bytes, query: bytes) -> bool:
    return bool(mark) and not query.startswith((b"&", b";"))


def _name(pair: bytes) -> str:
    name = pair.lstrip(b"&;").partition(b"=")[0].decode("latin-1")
    previous = ""
    while name != previous:  # however often it was encoded
        previous, name = name, unquote_plus(name)
    return name
