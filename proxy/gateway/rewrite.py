"""URLs of the upstream in an answer become the proxy's own: pure functions of bytes.

Only what points below the upstream's base path can be translated; everything else is left as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.gateway import RawHeaders

_LINK = re.compile(rb"<([^<>]*)>")  # no URL holds either; a search that steps over one takes forever in many of them
_ORIGIN = re.compile(rb"(https?:)?//([^/?#]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an upstream's URLs are found on this side.

    Attributes:
        authority: of the upstream, without a default port, lower case.
        base: the upstream's path that the place stands for, without a slash at its end.
        own: scheme and authority by which the client knows us.
        prefix: the path on our side that stands for `base`.
        is_plain: whether the upstream is reached by http; its https is another origin then, and to send the client
            there by http again would go in circles. The other way round, http only is what a server behind a TLS
            terminator believes.

    """

    authority: bytes
    base: bytes
    own: bytes
    prefix: bytes
    is_plain: bool = False

    def path(self, path: bytes) -> bytes | None:
        """Return our path for an upstream's, or None if it lies outside of the base."""
        if self.base and not (path.startswith(self.base) and path[len(self.base) : len(self.base) + 1] in b"/?#"):
            return None
        below = path[len(self.base) :]
        return self.prefix + below if self.prefix or below[:1] == b"/" else b"/" + below

    def url(self, url: bytes) -> bytes:
        """Return our URL for an upstream's absolute or path-absolute one; others unchanged."""
        match = _ORIGIN.match(url)
        if match:
            scheme = (match[1] or b"").lower()
            if plain_authority(match[2], match[1]) != self.authority or (self.is_plain and scheme == b"https:"):
                return url
            path = self.path(url[match.end() :] or b"/")
            return url if path is None else self.own + path
        if url.startswith(b"/"):
            path = self.path(url)
            if path is not None and path != url:
                # What begins with two slashes would name another host.
                return self.own + path if path.startswith((b"//", b"/\\")) else path
        return url


def plain_authority(authority: bytes, scheme: bytes | None) -> bytes:
    """Lower case, and without the scheme's default port."""
    authority = authority.lower()
    default = b":80" if (scheme or b"").lower() == b"http:" else b":443"
    return authority.removesuffix(default)


def rewrite(fields: RawHeaders, names: frozenset[bytes], place: Place) -> RawHeaders:
    """Translate the fields of `names`, a subset of ``location``, ``link`` and ``set-cookie``."""
    changed: RawHeaders = []
    for name, value in fields:
        lower = name.lower()
        if lower in names:
            value = _VALUES[lower](value, place)
        changed.append((name, value))
    return changed


def _location(value: bytes, place: Place) -> bytes:
    return place.url(value)


def _link(value: bytes, place: Place) -> bytes:
    return _LINK.sub(lambda match: b"<" + place.url(match[1]) + b">", value)


def _set_cookie(value: bytes, place: Place) -> bytes:
    """Make a cookie ours: no Domain, our path, and no Secure, since the client came over plain HTTP."""
    pair, *parts = value.split(b";")
    kept = [pair]
    for part in parts:
        name, _, setting = part.strip().partition(b"=")
        match name.strip().lower():
            case b"domain" | b"secure" | b"partitioned":
                continue  # the last one wants Secure
            case b"path" if setting.strip().startswith(b"/"):
                path = place.path(setting.strip())
                # A path outside of the base could never match again here.
                kept.append(b" Path=" + (path if path is not None else place.prefix or b"/"))
            case b"samesite" if setting.strip().lower() == b"none":
                continue  # wants Secure
            case _:
                kept.append(part)
    return b";".join(kept)


_VALUES = {b"location": _location, b"link": _link, b"set-cookie": _set_cookie}
