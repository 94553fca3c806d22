"""Cookies as a user agent keeps and sends them (RFC 6265, section 5), and beside those that a client sends."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import unquote_plus

import httpx

from proxy.credentials._names import is_among, plain_names
from proxy.values import is_loopback

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Old servers (RFC 2109) separate cookies by commas, and Python's http.cookies by spaces, too.
_INNER = re.compile(rb"""[,\s"]([^,\s"=]+)\s*=""")
# What a user agent should keep at least (RFC 6265, section 6.1), and a server can't exceed.
LARGEST = 4096  # bytes of name, value and attributes
PER_DOMAIN, IN_ALL = 50, 3000
_NUMBER = re.compile(r"-?\d{1,15}")


@dataclass(frozen=True, slots=True, repr=False)
class Cookie:
    """One cookie.

    Attributes:
        value: as it was sent.
        domain: whose it is, in lower case.
        host_only: whether it is not for what is below `domain`.
        path: below which it is sent.
        secure: whether it is sent over https only, or on this machine.
        expires_at: epoch seconds, or None for the end of the session.

    """

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool
    expires_at: float | None

    def is_over(self, now: float) -> bool:
        """Whether it has expired at `now` (epoch seconds)."""
        return self.expires_at is not None and self.expires_at <= now

    def is_for(self, host: str) -> bool:
        """Whether it is sent to `host`."""
        host = host.lower()
        return host == self.domain if self.host_only else _is_within(host, self.domain)

    def goes_with(self, url: httpx.URL, path: str) -> bool:
        """Whether it is sent with a request for `path` at the origin of `url`."""
        below = self.path if self.path.endswith("/") else self.path + "/"
        return (
            self.is_for(url.host)
            and (path == self.path or path.startswith(below))
            and (not self.secure or url.scheme == "https" or is_loopback(url.host))
        )


def _is_within(host: str, domain: str) -> bool:
    if host == domain:
        return True
    return host.endswith("." + domain) and not _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def parse(text: str, url: httpx.URL, now: float) -> Cookie | None:
    """Read the value of a ``Set-Cookie`` that `url` answered with; None if a user agent would ignore it.

    Args:
        text: the value.
        url: where it came from.
        now: epoch seconds.

    """
    pair, *rest = text.split(";")
    name, equals, value = (part.strip() for part in pair.partition("="))
    if not equals or not name or len(text) > LARGEST or _CONTROL.search(text):
        return None
    attributes: dict[str, str] = {}
    for attribute in rest:
        key, _, told = attribute.partition("=")
        attributes[key.strip().lower()] = told.strip()  # of two the last counts
    host = url.host.lower()
    domain = attributes.get("domain", "").lower().removeprefix(".")
    # Nobody may set one for all of .com; lists of where that ends change too often to be kept here.
    if domain and (not _is_within(host, domain) or (host != domain and "." not in domain)):
        return None
    path = attributes.get("path", "")
    return Cookie(
        name,
        value,
        domain=domain or host,
        host_only=not domain or _is_address(host),
        path=path if path.startswith("/") else _folder(url.path),
        secure="secure" in attributes,
        expires_at=_expiry(attributes, now),
    )


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _expiry(attributes: dict[str, str], now: float) -> float | None:
    age = attributes.get("max-age", "")
    if _NUMBER.fullmatch(age):
        return now + int(age)
    try:
        when = parsedate_to_datetime(attributes.get("expires", "").replace("-", " "))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def kept(cookies: Iterable[Cookie], more: Iterable[Cookie], now: float) -> tuple[Cookie, ...]:
    """Return `cookies` with `more` in the place of those that they replace, without what has expired at `now`.

    Of too many, those go that were set first: of a domain, and then of all.
    """
    by_place = {(each.name, each.domain, each.path): each for each in [*cookies, *more]}
    left: list[Cookie] = []
    of_domain: Counter[str] = Counter()
    for each in reversed(by_place.values()):
        if not each.is_over(now) and of_domain[each.domain] < PER_DOMAIN and len(left) < IN_ALL:
            of_domain[each.domain] += 1
            left.append(each)
    return tuple(reversed(left))


def with_cookies(theirs: bytes, ours: Iterable[tuple[str, str]]) -> bytes:
    """Return the value of ``Cookie`` that has ours beside the client's (RFC 6265, section 4.2).

    Of the same name there is only ours, however the client wrote it.
    """
    ours = list(ours)
    names = plain_names(each for name, _ in ours for each in (name, unquote_plus(name)))
    pairs = [pair.strip(b" \t") for pair in theirs.split(b";")]
    left = [pair for pair in pairs if pair and not _is_named(pair, names)]
    return b"; ".join([*left, *(f"{name}={value}".encode("latin-1") for name, value in ours)])


def _is_named(pair: bytes, names: frozenset[str]) -> bool:
    """Whether any server finds one of `names` in it: decoded or not, or behind a comma or a space."""
    first = pair.partition(b"=")[0].decode("latin-1")
    more = [name.decode("latin-1") for name in _INNER.findall(pair)] if b"=" in pair else []
    return any(is_among(name, names) or is_among(unquote_plus(name), names) for name in (first, *more))
