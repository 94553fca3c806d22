"""Who may come in. Everything here runs before a byte goes upstream and before ``100 Continue`` is sent.

A local port that adds credentials is a target for every page in the user's browser: the Host keeps DNS
rebinding out, fetch metadata and Origin keep other sites out, the client token keeps other processes out.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.errors import (
    ClientTokenNeeded,
    Denied,
    ExpectationFailed,
    InternalError,
    MalformedRequest,
    MethodDenied,
    Misdirected,
    SecretError,
)
from proxy.gateway import Entrance, Head, Inbound
from proxy.gateway.headers import tokens
from proxy.gateway.target import check_bytes, check_path, split_absolute
from proxy.methods import USUAL
from proxy.secrets import Secret
from proxy.values import is_loopback

_ALLOW = (b"Allow", ", ".join(USUAL).encode())  # and all others, but for two
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.\-]+)(?::(\d{0,5}))?")
_DIGITS = 20  # of a number of 64 bits
_CHALLENGE = (
    (b"Proxy-Authenticate", b'Bearer realm="countersign"'),
    (b"Proxy-Authenticate", b'Basic realm="countersign", charset="UTF-8"'),
)


@dataclass(slots=True, repr=False)
class Admitted:
    """A request that has passed.

    Attributes:
        target: origin-form, or ``*``; byte for byte what the client sent.
        path: the target without its query.
        authority: the host and port by which the client knows us.
        upstream: the authority of an absolute-form target that names an upstream, or None.
        origin: the allowed origin of a page that calls, or None.
        site: what a browser says of whose page calls: ``same-origin``, ``none``, or empty if it says nothing.

    """

    target: bytes
    path: bytes
    authority: bytes
    upstream: bytes | None = None
    origin: bytes | None = None
    site: bytes = b""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a guard thinks of a head, whatever is requested by it.

    Attributes:
        guard: whose verdict it is.
        version: of the requests that it holds for.
        authority, name, origin, site: as in `Admitted`; the name is the authority's, in lower case.
        is_ours: whether the name is one of this proxy's.

    """

    guard: Guard
    version: tuple[int, int]
    authority: bytes
    name: bytes
    is_ours: bool
    origin: bytes | None
    site: bytes


class Guard:
    """The checks of one configuration."""

    def __init__(
        self,
        *,
        allowed_hosts: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
        client_token: Secret | None = None,
    ) -> None:
        self._names = frozenset(name.lower().encode() for name in allowed_hosts)
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in allowed_origins)
        self._client_token = client_token

    async def admit(self, inbound: Inbound) -> Admitted:
        """Let a request in, or say why not.

        Raises:
            ProxyError: the row of the error table that applies.

        """
        verdict: Verdict | None = inbound.head.verdict
        if verdict is None or verdict.guard is not self or verdict.version != inbound.version:
            verdict = self._judge_head(inbound)
        if self._client_token is not None:
            # Before the target is looked at: reading it in every way takes its time, which only clients may use.
            await self._check_token(inbound, verdict, self._client_token)
        return self._judge_target(inbound, verdict)

    def judge(self, inbound: Inbound) -> Admitted:
        """Do everything that `admit` does but for the client token."""
        return self._judge_target(inbound, self._judge_head(inbound))

    def _judge_head(self, inbound: Inbound) -> Verdict:
        if inbound.method not in USUAL:
            check_method(inbound.method)  # whatever the Host
        verdict = inbound.head.verdict = self._verdict(inbound)
        return verdict

    def _judge_target(self, inbound: Inbound, verdict: Verdict) -> Admitted:
        """Judge Host and target together: an absolute-form target outdoes the Host (RFC 9112, section 3.2.2)."""
        method, target = inbound.method, inbound.target
        if method not in USUAL:
            check_method(method)
        check_bytes(target)
        upstream = None
        if target[:1] != b"/" and not (target == b"*" and method == "OPTIONS"):
            target, upstream = self._absolute(target, verdict, inbound.entrance.port)
            if method == "OPTIONS" and target == b"/" and inbound.target[-1:] != b"/":
                target = b"*"  # RFC 9112, section 3.2.4: no path means the server, and not what is at its root
        if upstream is None and not verdict.is_ours:
            raise Misdirected("this Host is not served here; server.allowed_hosts adds names")
        path = target.partition(b"?")[0]
        check_path(path)
        return Admitted(target, path, verdict.authority, upstream, verdict.origin, verdict.site)

    def _verdict(self, inbound: Inbound) -> Verdict:
        head, version = inbound.head, inbound.version
        check_framing(head, version)
        hosts = head.special.get(b"host", ())
        if len(hosts) != 1:
            raise MalformedRequest("exactly one Host is needed")
        authority = hosts[0]
        name, _ = split_host(authority)
        if b"expect" in head.special:
            check_expect(head)
        origin = self.check_origin(head, authority)
        is_ours = self._is_ours(name)
        if is_ours and not is_told(name) and name not in self._names:
            check_silence(head, name, inbound.entrance)
        site = b"" if origin is not None else site_of(head)
        return Verdict(self, version, authority, name, is_ours, origin, site)

    def _is_ours(self, name: bytes) -> bool:
        return is_local(name) or name in self._names

    def _absolute(self, target: bytes, verdict: Verdict, port: int | None) -> tuple[bytes, bytes | None]:
        split = split_absolute(target)
        if split is None:
            raise MalformedRequest("the request target is not a path")
        scheme, named, rest = split
        default = 80 if scheme == b"http" else 443
        (name, named_port), (host, host_port) = split_host(named), split_host(verdict.authority)
        if (name, named_port or default) != (host, host_port or default):
            raise MalformedRequest("the request target names another host than Host does")
        if self._is_ours(name) and (named_port or default) == port:
            return rest, None
        return rest, named

    def check_origin(self, head: Head, authority: bytes) -> bytes | None:
        """Keep web pages out, other than those of allowed origins; return the allowed one.

        Raises:
            Denied: a page of another site calls.

        """
        special = head.special
        if b"origin" not in special and b"sec-fetch-site" not in special:
            return None
        allowed = self.allowed_origin(head)
        if allowed is not None:
            return allowed
        origins = special.get(b"origin", ())
        if any(origin.lower() != b"http://" + authority.lower() for origin in origins):
            raise Denied("a web page of another origin may not call; server.allowed_origins names those that may")
        if any(site not in (b"same-origin", b"none") for site in tokens(special.get(b"sec-fetch-site", ()))):
            raise Denied("a web page of another site may not call; server.allowed_origins names those that may")
        if site_of(head) == b"none" and set(tokens(special.get(b"sec-fetch-mode", ()))) != {b"navigate"}:
            # Not the user, but something that a page has the browser fetch: the issuer of its certificate, say.
            raise Denied("a browser may call of its own accord only to open a page")
        return None

    def allowed_origin(self, head: Head) -> bytes | None:
        """Return the request's origin if it is one of ``server.allowed_origins``."""
        origins = head.special.get(b"origin", ())
        return origins[0] if len(origins) == 1 and origins[0].lower() in self._origins else None

    async def _check_token(self, inbound: Inbound, verdict: Verdict, secret: Secret) -> None:
        head = inbound.head
        if verdict.origin is not None and is_preflight(inbound.method, head):
            return  # a browser's preflight can't bring the token
        try:
            wanted = (await secret.get()).encode()
        except SecretError as failure:
            raise InternalError(f"the client token can't be had: {failure}") from None
        # All of them, so that the time tells nothing.
        if not any([hmac.compare_digest(given, wanted) for given in given_tokens(head)]):  # noqa: C419
            raise ClientTokenNeeded(
                "the client token is missing or wrong; expected X-Countersign-Token: TOKEN, "
                "Proxy-Authorization: Bearer TOKEN, or Proxy-Authorization: Basic with it as the password",
                headers=_CHALLENGE,
            )


def site_of(head: Head) -> bytes:
    """Return what ``Sec-Fetch-Site`` says in a request that has passed the check of its origin; empty without it."""
    sites = tokens(head.special.get(b"sec-fetch-site", ()))
    return b"none" if b"none" in sites else sites[0] if sites else b""


def check_method(method: str) -> None:
    """TRACE would show the credential, and CONNECT is for forward proxies.

    Raises:
        MethodDenied: it is one of them.

    """
    if method.upper() in ("TRACE", "CONNECT"):
        raise method_denied(method)


def method_denied(method: str) -> MethodDenied:
    """Return the answer to TRACE and CONNECT."""
    text = f"{method} is not served here"
    if method.upper() == "CONNECT":
        text += (
            ", since this is no forward proxy; expected requests to its own address, such as http://localhost:8080/PATH"
        )
    return MethodDenied(text, headers=(_ALLOW,))


def check_framing(head: Head, version: tuple[int, int]) -> None:
    """Refuse what two readers could frame in two ways (RFC 9112, sections 6.1 and 6.3).

    Raises:
        MalformedRequest: the version, ``Transfer-Encoding`` or ``Content-Length`` is ambiguous.

    """
    if version not in ((1, 1), (1, 0)):
        raise MalformedRequest("the version is not HTTP/1.0 or HTTP/1.1")
    codings = head.special.get(b"transfer-encoding")
    if codings is None:
        lengths = head.special.get(b"content-length", ())
        if len(lengths) > 1 or any(len(length) > _DIGITS for length in lengths):
            raise MalformedRequest("Content-Length is given twice, or has too many digits")
        return
    if len(codings) != 1 or codings[0].strip(b" \t").lower() != b"chunked":
        raise MalformedRequest("Transfer-Encoding is not just chunked")
    if b"content-length" in head.special:
        raise MalformedRequest("Transfer-Encoding stands beside Content-Length")
    if version == (1, 0):
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding")


def check_expect(head: Head) -> None:
    """RFC 9110, section 10.1.1.

    Raises:
        ExpectationFailed: something else than ``100-continue`` is expected.

    """
    if any(token != b"100-continue" for token in tokens(head.special[b"expect"])):
        raise ExpectationFailed("only 100-continue can be expected")


def split_host(value: bytes) -> tuple[bytes, int | None]:
    """Lower-case name and port of a ``Host`` or authority.

    Raises:
        MalformedRequest: empty, userinfo, a path, a list, a port that is none.

    """
    match = _HOST.fullmatch(value)
    if not match or int(match[2] or 0) > 65535:
        raise MalformedRequest("the Host is malformed")
    return match[1].lower(), int(match[2]) if match[2] else None


def is_local(name: bytes) -> bool:
    """Whether only this machine or its network can own the name, so that DNS rebinding can't use it."""
    if name == b"localhost" or name.endswith(b".localhost"):
        return True
    literal = name.strip(b"[]").decode("ascii")
    try:
        address = ipaddress.ip_address(literal)
        # "Everywhere" is an address that browsers have let pages reach.
        return not (getattr(address, "ipv4_mapped", None) or address).is_unspecified
    except ValueError:
        # 0x7f000001, 0177.1 and the like have to contain a letter or a dot less; all-digit names are addresses.
        return b"." not in name and not name.startswith(b"[") and re.fullmatch(rb"(0x[0-9a-f]*|\d+)", name) is None


def is_told(name: bytes) -> bool:
    """Whether browsers send ``Sec-Fetch-Site`` to a host by plain HTTP (W3C's Secure Contexts, section 3.1)."""
    return name == b"localhost" or name.startswith(b"127.") or name == b"[::1]" or name.endswith(b".localhost")


def check_silence(head: Head, name: bytes, entrance: Entrance) -> None:
    """Keep browsers out that don't say whose page it is that calls, by a name that leads back to this machine.

    A page can have its images and links point to ``[::ffff:127.0.0.1]``, or to what /etc/hosts calls 127.0.0.1,
    and browsers send neither ``Origin`` nor ``Sec-Fetch-Site`` there. What no page can change is ``User-Agent``.

    Raises:
        Denied: it is such a request.

    """
    if b"origin" in head.special or b"sec-fetch-site" in head.special:
        return
    leads_back = entrance.is_loopback or (name.startswith(b"[") and is_loopback(name.decode("ascii")))
    if leads_back and is_browser(head):
        raise Denied(
            "browsers don't tell which page asks by this name; right would be localhost, or server.allowed_hosts"
        )


def is_browser(head: Head) -> bool:
    """Whether a request comes from a browser, or from what claims to be one."""
    return any(name.lower() == b"user-agent" and b"mozilla/" in value.lower() for name, value in head.raw)


def given_tokens(head: Head) -> list[bytes]:
    """Every client token that a request brings, in any of the three ways."""
    given = list(head.special.get(b"x-countersign-token", ()))
    for value in head.special.get(b"proxy-authorization", ()):
        scheme, _, rest = value.partition(b" ")
        rest = rest.strip()
        if scheme.lower() == b"bearer":
            given.append(rest)
        elif scheme.lower() == b"basic":
            try:
                given.append(b64decode(rest, validate=True).partition(b":")[2])
            except ValueError:
                continue
    return given


def is_preflight(method: str, head: Head) -> bool:
    """Whether a browser asks before it sends the real request (Fetch standard, CORS preflight)."""
    return method == "OPTIONS" and b"access-control-request-method" in head.special
