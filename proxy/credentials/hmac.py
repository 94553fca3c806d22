"""Signatures as APIs invent them: a string made of the request, an HMAC or hash of it, and where they go."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Literal

import httpx
from pydantic import Field, PrivateAttr, model_validator

from proxy.clock import Clock
from proxy.credentials import MASK, Context, Credential, Scheme
from proxy.credentials._fields import check_field_name, field_value, remove_field, set_fields
from proxy.credentials._query import with_query, without_query
from proxy.credentials._template import Template
from proxy.errors import BodyTooLarge, CredentialError
from proxy.secrets import Secret, Source
from proxy.transport import at_hand

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
SIGNABLE = 8 << 20  # bytes of a body that {body} puts into the string

_REQUEST = (
    "method", "scheme", "host", "path", "query", "sorted_query", "target", "timestamp", "nonce", "body",
    "body_hash", "body_hash_base64", "content_type", "key_id",
)  # fmt: skip
_STRING = (*_REQUEST, "secret")
_PLACED = (*_REQUEST, "signature")
_FIELDS = {"host": "Host", "content_type": "Content-Type"}
_BODY_FIELDS = frozenset({"body", "body_hash", "body_hash_base64"})

ENCODINGS: dict[str, Callable[[bytes], str]] = {
    "hex": bytes.hex,
    "base64": lambda digest: b64encode(digest).decode(),
    "base64url": lambda digest: urlsafe_b64encode(digest).rstrip(b"=").decode(),
}
TIMESTAMPS: dict[str, Callable[[float], str]] = {
    "unix": lambda now: str(int(now)),
    "unix_ms": lambda now: str(int(now * 1000)),
    "iso8601": lambda now: datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z"),
    "http": lambda now: formatdate(now, usegmt=True),
}


Named = tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """Templates by the name of the field or parameter that they make.

    Attributes:
        early: those without the signature; they are made first, since the string may contain them.

    """

    early: Named
    late: Named

    @classmethod
    def of(cls, templates: Named) -> Placed:
        """Tell them apart."""
        early = tuple(pair for pair in templates if "signature" not in pair[1].fields)
        return cls(early, tuple(pair for pair in templates if pair not in early))

    @property
    def all(self) -> Named:
        """Both."""
        return self.early + self.late


@dataclass(frozen=True, slots=True)
class Plan:
    """The templates of one credential, parsed."""

    string: Template
    headers: Placed
    query: Placed

    @property
    def reads_fields(self) -> bool:
        """Whether any template mentions a header field, which may be one that the signing sets."""
        placed = (*self.headers.all, *self.query.all)
        mentioned = self.string.fields.union(*(template.fields for _, template in placed))
        return any(field in _FIELDS or field.startswith("header:") for field in mentioned)

    def uses(self, fields: Iterable[str]) -> bool:
        """Whether any template mentions one of `fields`."""
        placed = (*self.headers.all, *self.query.all)
        return bool(self.string.fields.union(*(template.fields for _, template in placed)) & set(fields))


class Hmac(Credential):
    """``type = "hmac"``."""

    type: Literal["hmac"]
    key_id: Secret | None = None
    secret: Secret
    algorithm: Literal[
        "sha1", "sha256", "sha384", "sha512",
        "digest:sha1", "digest:sha256", "digest:sha384", "digest:sha512",
    ] = "sha256"  # fmt: skip
    encoding: Literal["hex", "base64", "base64url"] = "hex"
    string_to_sign: str
    headers: dict[str, str] = Field(default={})
    query: dict[str, str] = Field(default={})
    timestamp: Literal["unix", "unix_ms", "iso8601", "http"] = "unix"
    _plan: Plan = PrivateAttr()

    @model_validator(mode="after")
    def _parse(self) -> Hmac:
        for name in self.headers:
            check_field_name(name)
        headers = tuple((name, _template(f"headers.{name}", text)) for name, text in self.headers.items())
        query = tuple((name, _template(f"query.{name}", text)) for name, text in self.query.items())
        string = _template("string_to_sign", self.string_to_sign, _STRING)
        if not any("signature" in template.fields for _, template in (*headers, *query)):
            raise ValueError(
                'the signature is sent nowhere; right would be headers = { X-Signature = "{signature}" } or query'
            )
        if self.algorithm.startswith("digest:") and "secret" not in string.fields:
            raise ValueError("a plain digest proves nothing unless string_to_sign contains {secret}")
        self._plan = Plan(string, Placed.of(headers), Placed.of(query))
        if self.key_id is None and self._plan.uses(("key_id",)):
            raise ValueError("{key_id} is used, but key_id is not given")
        return self

    @property
    def plan(self) -> Plan:
        """The parsed templates."""
        return self._plan

    def build(self, context: Context) -> Scheme:
        """As `Credential.build`."""
        return HmacScheme(self, context.clock)


def _template(key: str, text: str, known: Iterable[str] = _PLACED) -> Template:
    try:
        return Template(text, known)
    except ValueError as failure:
        raise ValueError(f"{key}: {failure}") from None


class Held:
    """A secret as bytes, asked for once if it can't change.

    Attributes:
        value: the secret, if nobody has to be asked for it any more.

    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.value = b""

    async def get(self) -> bytes:
        """As `Source.get`."""
        value = (await self._source.get()).encode()
        if not self._source.may_change:
            self.value = value
        return value


class HmacScheme(Scheme):
    """Signs what is sent, the moment it is sent."""

    def __init__(self, settings: Hmac, clock: Clock) -> None:
        self._settings = settings
        self._plan = plan = settings.plan
        self._clock = clock
        self._stamp = TIMESTAMPS[settings.timestamp]
        self._needs_body = plan.uses(_BODY_FIELDS)
        self._keeps_body = plan.uses(("body",))
        self._hashes_body = plan.uses(("body_hash", "body_hash_base64"))
        self._reads_fields = plan.reads_fields
        self._hash = settings.algorithm.removeprefix("digest:")
        self._is_plain = settings.algorithm.startswith("digest:")
        self._encode = ENCODINGS[settings.encoding]
        self.fields = frozenset(name.lower().encode() for name in settings.headers)
        self._secret = Held(settings.secret)
        self._key_id = None if settings.key_id is None else Held(settings.key_id)

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        await self._sign(request, None)

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.secret.get()
        if self._settings.key_id is not None:
            await self._settings.key_id.get()

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`; headers and query hold nothing secret, the string may."""
        told: dict[str, str] = {}
        await self._sign(request, told)
        return told

    async def _sign(self, request: httpx.Request, told: dict[str, str] | None) -> None:
        """Sign `request`; tell the string, as it may be shown, and the signature."""
        headers, query = self._plan.headers, self._plan.query
        values = Values(request)
        values["secret"] = secret = self._secret.value or await self._secret.get()
        values["timestamp"] = self._stamp(self._clock.time()).encode()
        if self._key_id is not None:
            values["key_id"] = self._key_id.value or await self._key_id.get()
        if self._needs_body:
            await self._read_body(request, values)
        # Nothing is signed that is not sent: what the signature will stand in makes way.
        if query.late:
            without_query(request, [name for name, _ in query.late])
        if query.early:
            with_query(request, _rendered(query.early, values))
            values.forget_target()
        if self._reads_fields:
            for name, _ in headers.late:
                remove_field(request, name)
            for template in headers.early:
                set_fields(request, _fields([template], values))
            fields = []
        else:
            fields = _fields(headers.early, values)
        string = self._plan.string.render(values)
        signature = self._encode(self._digest(secret, string))
        if told is not None:
            values["secret"] = MASK.encode()
            told |= {"string_to_sign": self._plan.string.render(values).decode("utf-8", "replace")}
            told |= {"signature": signature}
        values["signature"] = signature.encode()
        set_fields(request, fields + _fields(headers.late, values))
        if query.late:
            with_query(request, _rendered(query.late, values))

    def _digest(self, secret: bytes, string: bytes) -> bytes:
        if self._is_plain:
            return hashlib.new(self._hash, string).digest()
        digest: bytes = hmac.digest(secret, string, self._hash)
        return digest

    async def _read_body(self, request: httpx.Request, values: Values) -> None:
        """Read the body, which the stream keeps for the sending."""
        stream = request.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        body = at_hand(stream)
        if body is not None:
            values["body"] = body
            digest = hashlib.new(self._hash, body) if self._hashes_body else None
        else:
            digest, kept = hashlib.new(self._hash), bytearray()
            async for piece in stream:
                if self._hashes_body:
                    digest.update(piece)
                if self._keeps_body:
                    kept += piece
                    if len(kept) > SIGNABLE:
                        raise BodyTooLarge("the request's body is too large to be signed as a whole")
            values["body"] = bytes(kept)
        if digest is not None:
            values["body_hash"] = digest.hexdigest().encode()
            values["body_hash_base64"] = b64encode(digest.digest())


class Values(dict[str, bytes]):
    """What the fields of templates stand for in one request; most are made when they are first asked for."""

    def __init__(self, request: httpx.Request) -> None:
        super().__init__()
        self.request = request

    def __missing__(self, field: str) -> bytes:
        make = _MAKERS.get(field)
        if make is None:  # a header's, which may be set in the meantime
            return field_value(self.request, _FIELDS.get(field) or field.removeprefix("header:"))
        value = self[field] = make(self)
        return value

    def forget_target(self) -> None:
        """Have what depends on the target made anew: it was changed."""
        for field in _OF_TARGET & self.keys():
            del self[field]


_MAKERS: dict[str, Callable[[Values], bytes]] = {
    "method": lambda values: values.request.method.encode(),
    "scheme": lambda values: values.request.url.raw_scheme,
    "target": lambda values: values.request.extensions["target"],
    "path": lambda values: values["target"].partition(b"?")[0],
    "query": lambda values: values["target"].partition(b"?")[2],
    "sorted_query": lambda values: b"&".join(sorted(pair for pair in values["query"].split(b"&") if pair)),
    "nonce": lambda _: secrets.token_hex(16).encode(),
}
_OF_TARGET = frozenset({"target", "path", "query", "sorted_query"})


def _rendered(templates: Named, values: Values) -> list[tuple[str, bytes]]:
    return [(name, template.render(values)) for name, template in templates]


def _fields(templates: Iterable[tuple[str, Template]], values: Values) -> list[tuple[bytes, bytes]]:
    fields = [(name.encode(), template.render(values)) for name, template in templates]
    if _CONTROL.search(b"".join([value for _, value in fields])):
        raise CredentialError("a header that the credential makes would hold a control character")
    return fields
