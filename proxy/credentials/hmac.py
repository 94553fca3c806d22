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
from proxy.credentials._fields import check_field_name, field_value, remove_field, set_field
from proxy.credentials._query import with_query, without_query
from proxy.credentials._template import Template
from proxy.errors import BodyTooLarge, CredentialError
from proxy.secrets import Secret, Source

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
    """A secret as bytes, asked for once if it can't change."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._value = b""

    async def get(self) -> bytes:
        """As `Source.get`."""
        if self._value:
            return self._value
        value = (await self._source.get()).encode()
        if not self._source.may_change:
            self._value = value
        return value


class HmacScheme(Scheme):
    """Signs what is sent, the moment it is sent."""

    def __init__(self, settings: Hmac, clock: Clock) -> None:
        self._settings = settings
        self._plan = settings.plan
        self._clock = clock
        self._needs_body = self._plan.uses(_BODY_FIELDS)
        self._keeps_body = self._plan.uses(("body",))
        self._hashes_body = self._plan.uses(("body_hash", "body_hash_base64"))
        self._needs_nonce = self._plan.uses(("nonce",))
        self._hash = settings.algorithm.removeprefix("digest:")
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
        secret = await self._secret.get()
        self._make_way(request)
        values = await self._values(request)
        if self._plan.query.early:
            self._place(request, values, [], self._plan.query.early)
            values |= _target_values(request.extensions["target"])
        self._place(request, values, self._plan.headers.early, [])
        string = self._plan.string.render(_lookup(request, values | {"secret": secret}))
        signature = self._encode(self._digest(secret, string))
        if told is not None:
            shown = self._plan.string.render(_lookup(request, values | {"secret": MASK.encode()}))
            told |= {"string_to_sign": shown.decode("utf-8", "replace"), "signature": signature}
        values["signature"] = signature.encode()
        self._place(request, values, self._plan.headers.late, self._plan.query.late)

    def _make_way(self, request: httpx.Request) -> None:
        """Take out what the signature will stand in: nothing is signed that is not sent."""
        for name, _ in self._plan.headers.late:
            remove_field(request, name)
        if self._plan.query.late:
            without_query(request, [name for name, _ in self._plan.query.late])

    def _place(
        self,
        request: httpx.Request,
        values: dict[str, bytes],
        headers: Iterable[tuple[str, Template]],
        query: Iterable[tuple[str, Template]],
    ) -> None:
        lookup = _lookup(request, values)
        pairs = [(name, template.render(lookup)) for name, template in query]
        for name, template in headers:
            set_field(request, name, _without_controls(template.render(lookup)))
        if pairs:
            with_query(request, pairs)

    def _digest(self, secret: bytes, string: bytes) -> bytes:
        if self._settings.algorithm.startswith("digest:"):
            return hashlib.new(self._hash, string).digest()
        digest: bytes = hmac.digest(secret, string, self._hash)
        return digest

    async def _values(self, request: httpx.Request) -> dict[str, bytes]:
        """Everything that does not depend on the target."""
        settings = self._settings
        values = {
            "method": request.method.encode(),
            "scheme": request.url.raw_scheme,
            "timestamp": TIMESTAMPS[settings.timestamp](self._clock.time()).encode(),
            "nonce": secrets.token_hex(16).encode() if self._needs_nonce else b"",
            "key_id": b"" if self._key_id is None else await self._key_id.get(),
            **_target_values(request.extensions["target"]),
        }
        if self._needs_body:
            body, digest = await self._body(request)
            values |= {
                "body": body,
                "body_hash": digest.hex().encode(),
                "body_hash_base64": b64encode(digest),
            }
        return values

    async def _body(self, request: httpx.Request) -> tuple[bytes, bytes]:
        """Read the body, which the stream keeps for the sending; return it and its digest, if they are wanted."""
        stream = request.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        digest, kept = hashlib.new(self._hash), bytearray()
        async for piece in stream:
            if self._hashes_body:
                digest.update(piece)
            if self._keeps_body:
                kept += piece
                if len(kept) > SIGNABLE:
                    raise BodyTooLarge("the request's body is too large to be signed as a whole")
        return bytes(kept), digest.digest()


def _target_values(target: bytes) -> dict[str, bytes]:
    path, _, query = target.partition(b"?")
    return {
        "target": target,
        "path": path,
        "query": query,
        "sorted_query": b"&".join(sorted(pair for pair in query.split(b"&") if pair)),
    }


def _lookup(request: httpx.Request, values: dict[str, bytes]) -> Callable[[str], bytes]:
    def lookup(field: str) -> bytes:
        named = field[7:] if field.startswith("header:") else _FIELDS.get(field)
        return values[field] if named is None else field_value(request, named)

    return lookup


def _without_controls(value: bytes) -> bytes:
    if _CONTROL.search(value):
        raise CredentialError("a header that the credential makes would hold a control character")
    return value
