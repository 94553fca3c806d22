"""Signatures as APIs invent them: a string made of the request, an HMAC or hash of it, and where they go."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Literal

import httpx
from pydantic import Field, PrivateAttr, model_validator

from proxy.clock import Clock
from proxy.credentials import MASK, Context, Credential, Scheme, SecretKey
from proxy.credentials._fields import check_field_name, remove_field, set_fields
from proxy.credentials._query import with_query, without_query
from proxy.credentials._template import CONTROL, Template
from proxy.credentials._values import HEADERS, Values
from proxy.errors import BodyTooLarge, CredentialError
from proxy.secrets import Secret, Source, TextOrSecret
from proxy.transport import at_hand

SIGNABLE = 8 << 20  # bytes of a body that {body} puts into the string

_REQUEST = (
    "method", "scheme", "host", "path", "query", "sorted_query", "target", "timestamp", "nonce", "body",
    "body_hash", "body_hash_base64", "content_type", "key_id",
)  # fmt: skip
_STRING = (*_REQUEST, "secret")
_PLACED = (*_REQUEST, "signature")
_HIDDEN = "secret:"  # what the names of fields begin with that no template can mention
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
Fields = list[tuple[bytes, bytes]]


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
    """The templates of one credential, parsed.

    Attributes:
        secrets: values of ``headers`` and ``query`` that are secrets, by the name of the field that stands for each.

    """

    string: Template
    headers: Placed
    query: Placed
    secrets: dict[str, Source]

    @property
    def reads_fields(self) -> bool:
        """Whether any template mentions a header field, which may be one that the signing sets."""
        placed = (*self.headers.all, *self.query.all)
        mentioned = self.string.fields.union(*(template.fields for _, template in placed))
        return any(field in HEADERS or field.startswith("header:") for field in mentioned)

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
    headers: dict[str, TextOrSecret] = Field(default={})
    query: dict[str, TextOrSecret] = Field(default={})
    timestamp: Literal["unix", "unix_ms", "iso8601", "http"] = "unix"
    _plan: Plan = PrivateAttr()

    def secrets(self) -> Iterator[tuple[SecretKey, Source]]:
        """As `Credential.secrets`, with the values that are secrets."""
        yield from super().secrets()
        for key, table in (("headers", self.headers), ("query", self.query)):
            yield from (((key, name), value) for name, value in table.items() if isinstance(value, Source))

    @model_validator(mode="after")
    def _parse(self) -> Hmac:
        for name in self.headers:
            check_field_name(name)
        values: dict[str, Source] = {}
        headers, query = _templates("headers", self.headers, values), _templates("query", self.query, values)
        broken = [name for name, template in headers if not template.is_clean]
        if broken:
            raise ValueError(f"headers.{broken[0]}: a header field can't hold control characters")
        string = _template("string_to_sign", self.string_to_sign, _STRING)
        if not any("signature" in template.fields for _, template in (*headers, *query)):
            raise ValueError(
                'the signature is sent nowhere; right would be headers = { X-Signature = "{signature}" } or query'
            )
        if self.algorithm.startswith("digest:") and "secret" not in string.fields:
            raise ValueError("a plain digest proves nothing unless string_to_sign contains {secret}")
        self._plan = Plan(string, Placed.of(headers), Placed.of(query), values)
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


def _templates(key: str, table: dict[str, str | Source], secrets: dict[str, Source]) -> Named:
    """Parse one of the tables; a secret in it becomes a field of its own, which is added to `secrets`."""
    templates = []
    for name, value in table.items():
        if isinstance(value, Source):
            field = f"{_HIDDEN}{len(secrets)}"
            secrets[field] = value
            templates.append((name, Template(f"{{{field}}}", [field])))
        else:
            templates.append((name, _template(f"{key}.{name}", value)))
    return tuple(templates)


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

    signs = True

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
        self.parameters = frozenset(settings.query)
        self._secret = Held(settings.secret)
        self._key_id = None if settings.key_id is None else Held(settings.key_id)
        self._values_held = [(field, Held(source)) for field, source in plan.secrets.items()]

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        values = await self._values(request)
        fields = self._place_early(request, values)
        self._sign(values)
        self._place_late(request, values, fields)

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        for _, source in self._settings.secrets():
            await source.get()

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`; the signature is that of the values which are masked."""
        values = await self._values(request)
        self._place_early(request, values)
        self._sign(values)
        for field in ("secret", *self._plan.secrets):
            values[field] = MASK.encode()
        fields = self._place_early(request, values, safe="*")
        shown = self._plan.string.render(values).decode("utf-8", "replace")
        self._place_late(request, values, fields)
        return {"string_to_sign": shown, "signature": values["signature"].decode()}

    async def _values(self, request: httpx.Request) -> Values:
        """Return everything that has to be asked for."""
        values = Values(request)
        values["secret"] = self._secret.value or await self._secret.get()
        values["timestamp"] = self._stamp(self._clock.time()).encode()
        if self._key_id is not None:
            values["key_id"] = self._key_id.value or await self._key_id.get()
        for field, held in self._values_held:
            values[field] = held.value or await held.get()
        if self._needs_body:
            body = at_hand(request.stream)
            if body is None:
                await self._read_body(request, values)
            else:
                values["body"] = body
                if self._hashes_body:
                    values.take_hash(hashlib.new(self._hash, body).digest())
        return values

    def _place_early(self, request: httpx.Request, values: Values, safe: str = "") -> Fields:
        """Put on the request what the string may contain; return the fields that may as well be set later.

        What the signature will stand in makes way: nothing is signed that is not sent.
        """
        headers, query = self._plan.headers, self._plan.query
        if query.late:
            without_query(request, [name for name, _ in query.late])
        if query.early:
            with_query(request, _rendered(query.early, values), safe)
        if query.early or query.late:
            values.forget_target()
        if not self._reads_fields:
            return _fields(headers.early, values)
        for name, _ in headers.late:
            remove_field(request, name)
        for template in headers.early:
            set_fields(request, _fields([template], values))
        return []

    def _sign(self, values: Values) -> None:
        secret, string = values["secret"], self._plan.string.render(values)
        digest = hashlib.new(self._hash, string).digest() if self._is_plain else hmac.digest(secret, string, self._hash)
        values["signature"] = self._encode(digest).encode()

    def _place_late(self, request: httpx.Request, values: Values, fields: Fields) -> None:
        headers, query = self._plan.headers, self._plan.query
        set_fields(request, fields + _fields(headers.late, values))
        if query.late:
            with_query(request, _rendered(query.late, values))

    async def _read_body(self, request: httpx.Request, values: Values) -> None:
        """Read the body, which the stream keeps for the sending."""
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
        values["body"] = bytes(kept)
        values.take_hash(digest.digest())


# Whatever the client sends: a target with a control character was refused, a secret with one was, too.
_CLEAN = frozenset(_PLACED) - {*HEADERS, "body"}


def _rendered(templates: Named, values: Values) -> list[tuple[str, bytes]]:
    return [(name, template.render(values)) for name, template in templates]


def _fields(templates: Iterable[tuple[str, Template]], values: Values) -> Fields:
    fields: Fields = []
    for name, template in templates:
        value = template.render(values)
        if not template.fields <= _CLEAN and CONTROL.search(value):
            raise CredentialError("a header that the credential makes would hold a control character")
        fields.append((name.encode(), value))
    return fields
