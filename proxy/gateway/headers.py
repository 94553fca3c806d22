"""Which header fields go on, in both directions: pure functions over lists of raw fields.

Names, values, order and duplicates survive byte for byte; what belongs to one hop only does not
(RFC 9110, section 7.6.1). The framing of a forwarded message is decided here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from proxy.gateway import Head, RawHeaders
from proxy.gateway.navigation import SANDBOX, is_document
from proxy.secrets import Source, TextOrSecret, meant
from proxy.transport import Repeated
from proxy.transport.codings import readable_encodings
from proxy.transport.messages import CONTROL, replaced
from proxy.values import Model, split_words

_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"http2-settings", b"proxy-authenticate", b"proxy-authentication-info",
    }
)  # fmt: skip
# Meant for this proxy, whatever the route says.
_OURS = frozenset({b"host", b"expect", b"proxy-authorization", b"x-countersign-token"})
METHOD_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
# Goes on, but the guard or the policy wants to see it.
_SEEN = frozenset(
    {
        b"content-length", b"authorization", b"origin", b"referer", b"destination", b"sec-fetch-site",
        b"sec-fetch-mode", b"idempotency-key",
        b"access-control-request-method", b"access-control-request-headers",
        b"access-control-request-private-network",
    }
) | METHOD_OVERRIDES  # fmt: skip
_SPECIAL = _HOP | _OURS | _SEEN
# An application server could take "Content_Length" and "content.length" for the real one: CGI's variables have
# underscores, in whose place some servers put them for whatever is no letter.
_PLAIN = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_.!#$%&'*+^`|~", b"abcdefghijklmnopqrstuvwxyz--------------"
)  # fmt: skip
_LOOKALIKES = _HOP | _OURS | {b"content-length"}
# Their look-alikes go on and are judged as they are: a server may take them for these.
_JUDGED = METHOD_OVERRIDES | {b"sec-fetch-site", b"sec-fetch-mode"}
NAMING = frozenset({b"origin", b"referer", b"destination"})
"""Request fields that name the proxy when a client follows what it knows of it."""
PATH_OVERRIDES = (b"X-Original-URL", b"X-Rewrite-URL")
"""By which some servers (IIS, Symfony) let another path be meant than the request line's."""
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})
_UNTOUCHABLE = frozenset({b"content-length", b"host", b"transfer-encoding"})
# Decided here or by the server, never by a rule: two framings, or a wrong one, make two requests of one.
_FRAMING = _HOP - {b"proxy-authenticate", b"proxy-authentication-info"} | {b"content-length", b"expect"}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError('not the name of a header field; right would be "User-Agent"')
    return name


def _settable(name: str) -> str:
    if name.lower().replace("_", "-").encode() in _FRAMING:
        raise ValueError("a field that frames the message or belongs to one connection; that is the proxy's to do")
    return _name(name)


def _removable(name: str) -> str:
    if name.lower() == "content-length":
        raise ValueError("a field that frames the message; that is the proxy's to do")
    return _name(name)


def _value(value: str) -> str:
    if CONTROL.search(value.encode("utf-8", "replace")) or value != value.strip(" \t"):
        raise ValueError("a header field can't hold control characters, nor spaces at its ends")
    return value


def _text_or_secret(value: str | Source) -> str | Source:
    if not isinstance(value, str):
        return value
    right = meant(value, substituted=True)
    if right:
        raise ValueError(f'names a secret as a text; expected {right}, or {{ literal = "…" }} for this text')
    return _value(value)


_Settable = Annotated[str, AfterValidator(_settable)]
_Removable = Annotated[tuple[Annotated[str, AfterValidator(_removable)], ...], BeforeValidator(split_words)]


class RequestRules(Model):
    """``request_headers`` of a route."""

    set: dict[_Settable, Annotated[TextOrSecret, AfterValidator(_text_or_secret)]] = Field(default={})
    remove: _Removable = ()

    def secrets(self) -> Iterator[tuple[str, Source]]:
        """Name and source of every field whose value is a secret."""
        return ((name, value) for name, value in self.set.items() if isinstance(value, Source))


class ResponseRules(Model):
    """``response_headers`` of a route."""

    set: dict[_Settable, Annotated[str, AfterValidator(_value)]] = Field(default={})
    remove: _Removable = ()


def read(raw: Sequence[tuple[bytes, bytes]]) -> Head:
    """Tell the end-to-end fields of a request from the others."""
    fields: RawHeaders = []
    special: dict[bytes, list[bytes]] = {}
    for field in raw:
        name = field[0].lower()
        if name in _SPECIAL:
            special.setdefault(name, []).append(field[1])
            if name in _SEEN:
                fields.append(field)
        else:
            plain = name.translate(_PLAIN)
            if plain in _JUDGED:
                special.setdefault(plain, []).append(field[1])
            if plain not in _LOOKALIKES:
                fields.append(field)
    if b"connection" in special:
        fields = _without_named(fields, special[b"connection"])
        # The guard's fields stay seen, but a key that does not go on can't make a repetition safe.
        if b"idempotency-key" in special and b"idempotency-key" in tokens(special[b"connection"]):
            del special[b"idempotency-key"]
    return Head(raw, fields, special)


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """Members of a list-valued field (RFC 9110, section 5.6.1), in lower case."""
    return [token for value in values for token in (part.strip().lower() for part in value.split(b",")) if token]


def _without_named(fields: RawHeaders, connection: list[bytes]) -> RawHeaders:
    named = set(tokens(connection)) - {b"close", b"keep-alive", b"upgrade"} - _UNTOUCHABLE
    return [field for field in fields if field[0].lower() not in named] if named else fields


def wants_websocket(method: str, version: tuple[int, int], head: Head) -> bool:
    """Whether this is a WebSocket handshake (RFC 6455, section 4.1); other upgrades are ignored."""
    return (
        b"upgrade" in head.special
        and method == "GET"
        and version >= (1, 1)
        and b"websocket" in tokens(head.special[b"upgrade"])
        and b"upgrade" in tokens(head.special.get(b"connection", ()))
        and b"content-length" not in head.special
        and b"transfer-encoding" not in head.special
    )


class RequestHeaders:
    """The fields of a route's requests: what its configuration sets, removes and keeps out.

    Values that are secrets are missing here; they are read when a request is sent.

    Attributes:
        host: the value of ``Host``.

    """

    def __init__(self, host: bytes, rules: RequestRules, *, drop: Iterable[bytes] = ()) -> None:
        self._set = [(name.encode(), value.encode()) for name, value in rules.set.items() if isinstance(value, str)]
        # A Host that is set stands in place of the upstream's: two of them would be no request.
        hosts = [field for field in self._set if field[0].lower() == b"host"]
        self._host = hosts[-1] if hosts else (b"Host", host)
        self.host = self._host[1]
        self._set = [field for field in self._set if field not in hosts]
        # A field that is set replaces what the client sent, look-alikes included.
        ruled = [name.encode() for name in (*rules.set, *rules.remove)]
        self._drop = frozenset(name.translate(_PLAIN) for name in (*drop, *ruled))
        self._may_keep = b"authorization" not in {name.lower() for name in ruled}

    def outbound(
        self, head: Head, *, chunked: bool, websocket: bool, keep_authorization: bool, readable: bool = False
    ) -> RawHeaders:
        """Return the fields of the request as it goes upstream, without the credential.

        With `readable` the upstream is asked only for encodings that the credential can read.
        """
        drop = self._drop
        keep_authorization = keep_authorization and self._may_keep
        fields = [self._host]
        for field in head.fields:
            name = field[0].translate(_PLAIN)
            if name not in drop or (keep_authorization and name == b"authorization"):
                fields.append(field)
        fields += self._set
        if chunked:
            fields.append((b"Transfer-Encoding", b"chunked"))
        if websocket:
            fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        if readable:
            accepted = b",".join(value for name, value in fields if name.lower() == b"accept-encoding")
            fields = replaced(fields, b"Accept-Encoding", readable_encodings(accepted))
        return fields


# What a name means for an answer, as bits.
_DROPPED, _CONNECTION, LENGTH, REWRITTEN, TYPE, _SENDING = 1, 2, 4, 8, 16, 32
_KNOWN = 512  # names that are remembered; upstreams use a few, again and again


_MEANT = {
    b"content-length": LENGTH,
    b"content-type": TYPE,
    # These have a browser send requests in the name of whatever it shows, a text too: to another route, say.
    b"refresh": _SENDING,
    b"content-security-policy": _SENDING,
    b"content-security-policy-report-only": _SENDING,
}


class _Meanings(dict[bytes, int]):
    """What names mean, by their spelling: upstreams spell a name always the same."""

    def __init__(self, drop: frozenset[bytes], rewrite: frozenset[bytes]) -> None:
        self._drop = drop
        self._rewrite = rewrite

    def __missing__(self, name: bytes) -> int:
        lower = name.lower()
        meaning = _DROPPED if lower in _HOP or lower in self._drop else 0
        if lower == b"connection":
            meaning |= _CONNECTION
        if not meaning:
            meaning = _MEANT.get(lower, 0) | (REWRITTEN if lower in self._rewrite else 0)
        if len(self) < _KNOWN:
            self[name] = meaning
        return meaning


class ResponseHeaders:
    """The fields of a route's answers.

    Args:
        rules: what is set and removed.
        drop: lower-case names of what is dropped, too.
        rewrite: lower-case names of what the route rewrites.
        sandbox: whether documents are to be shown in an origin of their own.

    """

    def __init__(
        self,
        rules: ResponseRules,
        *,
        drop: Iterable[bytes] = (),
        rewrite: frozenset[bytes] = frozenset(),
        sandbox: bool = False,
    ) -> None:
        self._sandbox = sandbox
        self._set = [(name.encode(), value.encode()) for name, value in rules.set.items()]
        dropped = frozenset((*drop, *(name.lower().encode() for name in (*rules.set, *rules.remove))))
        self._meanings = _Meanings(dropped, rewrite)
        of_set = _Meanings(frozenset(), rewrite)
        self._set_meaning = reduce(or_, (of_set[name] for name, _ in self._set), 0)

    def inbound(self, raw: Sequence[tuple[bytes, bytes]]) -> tuple[RawHeaders, int]:
        """Return the end-to-end fields of an upstream's answer, as the route's rules leave them.

        The number tells by its bits whether there is a ``LENGTH`` or ``TYPE`` among them, and what is ``REWRITTEN``.
        """
        if type(raw) is not Repeated:
            return self._inbound(raw)
        made: tuple[Repeated, int] | None = raw.made_by(self)
        if made is None:
            fields, found = self._inbound(raw)
            made = Repeated(fields), found
            raw.made = self, made
        return made

    def _inbound(self, raw: Sequence[tuple[bytes, bytes]]) -> tuple[RawHeaders, int]:
        fields: RawHeaders = []
        meanings = self._meanings
        found = 0
        for field in raw:
            meaning = meanings[field[0]]
            if not meaning & _DROPPED:
                fields.append(field)
            elif meaning & _CONNECTION and field[1] in _PLAIN_CONNECTION:
                continue
            found |= meaning
        if found & _CONNECTION:
            fields = _without_named(fields, [value for name, value in raw if name.lower() == b"connection"])
        fields += self._set
        found |= self._set_meaning
        if self._sandbox and (found & _SENDING or (found & TYPE and any(map(is_document, _types(fields))))):
            fields.append(SANDBOX)
        return fields, found


def _types(fields: RawHeaders) -> list[bytes]:
    return [value for name, value in fields if name.lower() == b"content-type"]
