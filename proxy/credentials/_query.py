"""Parameters that a credential adds to a target, whose other bytes stay as they are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote_plus

import httpx

from proxy.credentials._names import is_among, plain_names

_PAIR = re.compile(rb"[&;]?[^&;]*")
_ENCODED_PERCENT = re.compile(r"%(?:25)+")
_DEPTH = 8  # times that a name may have been encoded; ``%2525…`` counts once, however long


def with_query(request: httpx.Request, pairs: Iterable[tuple[str, str | bytes]], safe: str = "") -> None:
    """Add `pairs` at the end of the target; the client's of the same names make way."""
    pairs = list(pairs)
    without_query(request, {name for name, _ in pairs})
    target: bytes = request.extensions["target"]
    path, _, query = target.partition(b"?")
    added = "&".join(f"{quote(name, safe='')}={quote(value, safe=safe)}" for name, value in pairs).encode()
    if added:
        separator = b"&" if query and not query.endswith((b"&", b";")) else b""
        request.extensions["target"] = path + b"?" + query + separator + added


def without_query(request: httpx.Request, names: Collection[str]) -> None:
    """Take parameters of the client's out of the target.

    They are found however they are encoded and spelt, and behind ``;``, too: some servers separate there.
    """
    path, mark, query = request.extensions["target"].partition(b"?")
    request.extensions["target"] = path + mark + _without(query, plain_names(names))


def url_without(url: bytes, names: Collection[str]) -> bytes:
    """Return a URL reference without parameters of these names, found like those of `without_query`."""
    rest, hash_sign, fragment = url.partition(b"#")
    path, mark, query = rest.partition(b"?")
    kept = _without(query, plain_names(names))
    return path + (mark if kept or not query else b"") + kept + hash_sign + fragment


def _without(query: bytes, names: frozenset[str]) -> bytes:
    pairs = _PAIR.findall(query)
    kept = [pair for pair in pairs if not _is_named(pair, names)]
    if len(kept) == len(pairs):
        return query
    query = b"".join(kept)
    if _is_named(pairs[0], names) and pairs[0][:1] not in (b"&", b";"):
        query = query[1:]  # what separated the first from the second
    return query


def _is_named(pair: bytes, names: frozenset[str]) -> bool:
    name = pair.lstrip(b"&;").partition(b"=")[0].decode("latin-1")
    for depth in range(_DEPTH):
        plain = unquote_plus(_ENCODED_PERCENT.sub("%", name) if depth else name)
        if is_among(plain, names):
            return True
        if plain == name:
            break
        name = plain
    return False
