"""URLs of the upstream in a response become the proxy's own, and those of the proxy in a request the upstream's.

Pure functions of bytes. Only what points below the upstream's base path, or below the route's prefix, can be
translated; everything else is left as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
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
        route: the path on our side below which everything is the route's: its prefix, be it stripped or not.
        origin: scheme and authority of the upstream, as requests to it name them.
        strip: takes the credential out of a URL; an API may repeat the query that it was sent.
        is_plain: whether the upstream is reached by http; its https is another origin then, and to send the client
            there by http again would go in circles. The other way round, http only is what a server behind a TLS
            terminator believes.

    """

    authority: bytes
    base: bytes
    own: bytes
    prefix: bytes
    route: bytes
    origin: bytes
    strip: Callable[[bytes], bytes] = bytes
    is_plain: bool = False

    def path(self, path: bytes) -> bytes | None:
        """Return our path for an upstream's, or None if it lies outside of the base."""
        if self.base and not is_below(path, self.base):
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

    def upstream_url(self, url: bytes) -> bytes:
        """Return the upstream's URL for one of ours, absolute or path-absolute; others unchanged.

        The bare origin is translated, too: browsers send it as ``Origin``, and as a shortened ``Referer``.
        """
        origin = b""
        if url[:1] != b"/" or url[:2] == b"//":
            match = _ORIGIN.match(url)
            if match is None or not self._names_us(match[1], match[2]):
                return url
            origin, rest = self.origin, url[match.end() :]
            if rest in (b"", b"/"):
                return origin + rest
        else:
            rest = url
        if not is_below(rest, self.route):
            return url
        path = self.base + rest[len(self.prefix) :]
        return origin + (path if path[:1] == b"/" else b"/" + path)

    def _names_us(self, scheme: bytes | None, authority: bytes) -> bool:
        own, _, own_authority = self.own.partition(b"//")
        return (
            scheme is not None
            and scheme.lower() == own
            and plain_authority(authority, scheme) == plain_authority(own_authority, own)
        )


def is_below(path: bytes, prefix: bytes) -> bool:
    """Whether `path`, which may have a query, is `prefix` or lies below it, by whole segments."""
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/", b"?", b"#")


def path_at(url: bytes, authorities: Container[bytes]) -> bytes | None:
    """Return the path of a URL at one of the plain `authorities`, or of one that names no host; else None."""
    match = _ORIGIN.match(url)
    if match is not None:
        if plain_authority(match[2], match[1]) not in authorities:
            return None
        url = url[match.end() :]
    return url.partition(b"#")[0].partition(b"?")[0] or b"/"


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
    return place.url(place.strip(value))


def _link(value: bytes, place: Place) -> bytes:
    return _LINK.sub(lambda match: b"<" + place.url(place.strip(match[1])) + b">", value)


# Clients drop a cookie of such a name that is not Secure (RFC 6265bis, section 4.1.3); over plain HTTP they accept
# Secure from loopback.
_SECURE_NAMES = (b"__host-", b"__secure-", b"__http-")


def _set_cookie(value: bytes, place: Place) -> bytes:
    """Make a cookie ours: no Domain, our path, and no Secure unless its name demands it."""
    pair, *parts = value.split(b";")
    name = pair.strip().lower()
    is_secure, is_host = name.startswith(_SECURE_NAMES), name.startswith(b"__host-")
    kept = [pair]
    for part in parts:
        name, _, setting = part.strip().partition(b"=")
        match name.strip().lower():
            case b"domain":
                continue
            case b"secure" | b"partitioned" if not is_secure:
                continue  # the client uses plain HTTP; Partitioned demands Secure
            case b"samesite" if setting.strip().lower() == b"none" and not is_secure:
                continue  # demands Secure
            case b"path" if setting.strip().startswith(b"/") and not is_host:  # "__Host-" demands Path=/
                path = place.path(setting.strip())
                # A path outside of the base could never match again here.
                kept.append(b" Path=" + (path if path is not None else place.prefix or b"/"))
            case _:
                kept.append(part)
    return b";".join(kept)


def rewrite_request(fields: RawHeaders, names: frozenset[bytes], place: Place) -> RawHeaders:
    """Translate the request fields of `names`, whose values are URLs or origins."""
    return [(name, place.upstream_url(value) if name.lower() in names else value) for name, value in fields]


_VALUES = {b"location": _location, b"link": _link, b"set-cookie": _set_cookie}
