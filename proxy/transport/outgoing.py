"""Which outgoing proxy leads to an origin.

Decided by names and addresses as they are written: nothing is resolved. This machine, and the services that give a
machine its credentials, are never reached through a proxy.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib import request

import httpx

from proxy.errors import ConfigError
from proxy.values import is_loopback

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NONE, ENVIRONMENT = "none", "env"
EXPECTED = 'expected "http://proxy.example.com:3128", "env" or "none"'
_PROXY = re.compile(r"http://[^\s/?#]+/?")
_EXEMPTION = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NUMBERS = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}")
_PORTS = {"http": 80, "https": 443}

_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog"})
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254", "fd00:ec2::254",  # of virtual machines
        "169.254.170.2", "169.254.170.23", "fd00:ec2::23",  # of containers
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exemption:
    """One entry of ``no_proxy``.

    Attributes:
        name: a host, or a domain with all that is below it; ``*`` for everything; empty for a network.
        network: addresses.
        port: the only port that it is about, or None for all.

    """

    name: str = ""
    network: _Network | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: object) -> Exemption:
        """Return what an entry means.

        Raises:
            ValueError: it is none.

        """
        if isinstance(text, str):
            entry = text.strip().lower()
            network = _network(entry)
            if network is not None:
                return cls(network=network)
            if found := _EXEMPTION.fullmatch(entry):
                port = None if found["port"] is None else int(found["port"])
                network = _network(found["host"])
                name = "" if network is not None else _name(found["host"])
                if name or network is not None:
                    return cls(name, network, port)
        raise ValueError('not a host, domain or network; expected "example.com", "10.0.0.0/8" or "*"')

    def covers(self, host: str, address: _Address | None, port: int) -> bool:
        """Whether it is about an origin; `address` is what `host` is, if it is an address."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return self.name == "*" or host == self.name or host.endswith(f".{self.name}")


def _network(text: str) -> _Network | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _name(text: str) -> str:
    """Return a name as URLs have it; empty if it is none."""
    if text == "*":
        return text
    try:
        name = host_of(httpx.URL(f"http://{text.removeprefix('*').removeprefix('.')}"))
    except httpx.InvalidURL:
        return ""
    return name if _NAME.fullmatch(name) else ""


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Which outgoing proxy leads where.

    Attributes:
        http: the proxy for plain HTTP, None for none.
        https: the proxy for HTTPS.
        exempt: what is reached directly all the same.

    """

    http: httpx.URL | None = field(default=None, repr=False)  # either may hold a password
    https: httpx.URL | None = field(default=None, repr=False)
    exempt: tuple[Exemption, ...] = ()

    def proxy_for(self, url: httpx.URL) -> httpx.URL | None:
        """Return the proxy that leads to an origin, None if that is reached directly."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None:
            return None
        host, port = host_of(url), url.port or _PORTS[url.scheme]
        address = _address(host)
        if _is_always_direct(host, address) or any(entry.covers(host, address, port) for entry in self.exempt):
            return None
        return proxy

    def __str__(self) -> str:
        """For people, without passwords."""
        named = dict.fromkeys(shown(proxy) for proxy in (self.https, self.http) if proxy is not None)
        return ", ".join(named) or NONE


DIRECT = ProxyRules()


def rules(setting: str, exempt: Iterable[Exemption] = ()) -> ProxyRules:
    """Return what a value of ``proxy`` means.

    Args:
        setting: a URL, ``none``, or ``env`` for HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.
        exempt: what ``no_proxy`` has.

    Raises:
        ValueError: it is none of these.
        ConfigError: the environment names a proxy of another kind than http.

    """
    if setting in ("", NONE):
        return DIRECT
    if setting != ENVIRONMENT:
        proxy = parse_proxy(setting)
        return ProxyRules(proxy, proxy, tuple(exempt))
    found = request.getproxies_environment()
    http, https = (_of_environment(found, scheme) for scheme in ("http", "https"))
    return ProxyRules(http, https, (*exempt, *_environments_exemptions(found.get("no", ""))))


def parse_proxy(text: str) -> httpx.URL:
    """Return the URL of a proxy.

    Raises:
        ValueError: it is none; what was given is not repeated.

    """
    try:
        url = httpx.URL(text if _PROXY.fullmatch(text) else "")
    except httpx.InvalidURL:
        url = httpx.URL()
    if not url.host or (url.port is not None and not 0 < url.port < 1 << 16):
        raise ValueError(f"not a proxy; {EXPECTED}")
    return url


def _of_environment(found: Mapping[str, str], scheme: str) -> httpx.URL | None:
    text = found.get(scheme) or found.get("all")
    if not text:
        return None
    kind, separator, rest = text.partition("://")
    if separator and kind.lower() != "http":
        raise ConfigError(f"the environment's proxy for {scheme} is {kind}://; expected http://")
    try:
        return parse_proxy(f"http://{(rest if separator else text).partition('/')[0]}")
    except ValueError:
        pass  # raised outside: the text may hold a password
    raise ConfigError(f"the environment's proxy for {scheme} is not a URL; expected http://HOST:PORT")


def _environments_exemptions(text: str) -> Iterator[Exemption]:
    """What is no entry is ignored, as other programs do: the variable is not ours alone."""
    for word in text.replace(",", " ").split():
        try:
            yield Exemption.parse(word)
        except ValueError:
            continue


def shown(proxy: httpx.URL) -> str:
    """Return a proxy for people, without user and password."""
    return f"http://{'***@' if proxy.userinfo else ''}{proxy.netloc.decode('ascii')}"


def host_of(url: httpx.URL) -> str:
    """Return the host as it is resolved: in ASCII, without brackets and the dot at its end."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def _address(host: str) -> _Address | None:
    """Return the address that a host is, if it is none that has to be resolved."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not _NUMBERS.fullmatch(host):
            return None
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # such as 127.1, which resolvers take, too
        except OSError:
            return None
    return getattr(address, "ipv4_mapped", None) or address


def is_inside(url: str) -> bool:
    """Whether a URL names this machine, or a metadata service that it alone reaches; nothing is resolved."""
    host = host_of(httpx.URL(url))
    return _is_always_direct(host, _address(host))


def _is_always_direct(host: str, address: _Address | None) -> bool:
    if address is None:
        return is_loopback(host) or host in _METADATA_NAMES
    return address.is_loopback or address.is_unspecified or address in _METADATA
