"""How a request is authenticated: a scheme a file, each builds an ``httpx.Auth``.

A `Credential` is the parsed configuration of one; the `Scheme` that it builds is driven by the exchange. A
scheme holds no lock across a yield, does no blocking I/O, and keeps the state of a flow in locals.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import Annotated, Any

import httpx
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_plain_validator_function, tagged_union_schema

from proxy import plugins
from proxy.clock import Clock
from proxy.credentials._query import url_without
from proxy.keys import SigningKey
from proxy.secrets import Source
from proxy.tokens import Tokens
from proxy.tokens.requests import Login
from proxy.tokens.source import TokenSource
from proxy.transport.outgoing import ProxyRules
from proxy.values import Model

SecretKey = str | tuple[str, ...]  # of a secret in an inner table all keys that lead to it
LoadKey = Callable[[], Awaitable[SigningKey]]  # raises SecretError
MASK = "***"
AUTHORIZATION = frozenset({b"authorization"})


class Scheme(httpx.Auth):
    """An Auth of ours: `apply` puts the credential on a request, and no answer changes anything.

    A scheme that can renew overrides `async_auth_flow`. What is to be signed is
    ``request.extensions["target"]``: exactly the bytes that are sent.

    Attributes:
        fields: lower-case names of the header fields it sets; what a client sends under them is dropped.
        parameters: names of the parameters of the query that it sets.
        signs: whether what it sets depends on the rest of the request.
        source: where its tokens come from, if it has any.
        outgoing: which outgoing proxies lead to what it requests itself.
        reads_body: whether it looks at the bodies of responses: the upstream is asked for encodings that can be read.

    """

    fields: frozenset[bytes] = frozenset()
    parameters: frozenset[str] = frozenset()
    signs: bool = False
    source: TokenSource | None = None
    outgoing: tuple[ProxyRules, ...] = ()
    reads_body = False

    async def apply(self, request: httpx.Request) -> None:
        """Put the credential on `request`.

        Raises:
            SecretError: a secret can't be had.

        """

    def without_credential(self, url: bytes) -> bytes:
        """Return a URL of a response without what this puts into the targets of requests, which APIs repeat there."""
        return url_without(url, self.parameters) if self.parameters else url

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        await self.apply(request)
        yield request

    async def ready(self) -> None:
        """See that the credential can be had.

        Raises:
            SecretError, ProxyError: it can't.

        """

    def expires_at(self) -> float | None:
        """Epoch seconds when what it has expires, if it is known."""
        return None

    @property
    def scope(self) -> str | None:
        """What its token may do, if it has one and the server said so."""
        return None

    @property
    def login(self) -> Login | None:
        """How a user's login gives it a token; None if no user could."""
        return None

    async def aclose(self) -> None:
        """Let go of what it has."""

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """Put the credential on `request` such that it may be shown, and tell what there is to know.

        Nothing is sent for it, and no secret is in what comes out.
        """
        await self.apply(request)
        for name, value in request.headers.raw:
            if name.lower() in self.fields:
                request.headers[name.decode()] = masked(value.decode("latin-1"))
        return {}


def masked(value: str) -> str:
    """Return a field's value that shows the scheme only."""
    scheme, space, _ = value.partition(" ")
    return f"{scheme} {MASK}" if space and scheme.isalpha() else MASK


@dataclass(frozen=True, slots=True)
class Context:
    """What a credential is built with.

    Attributes:
        name: the credential's, or its route's if it stands inline.
        build: makes the scheme of another credential by its name.
        tokens: makes the sources of tokens.

    """

    name: str
    build: Callable[[str], Scheme]
    tokens: Tokens
    clock: Clock


class Credential(Model, ABC):
    """``[credentials.NAME]``: the keys of one type."""

    type: str

    @abstractmethod
    def build(self, context: Context) -> Scheme:
        """Return the scheme that this configures."""

    def prepare(self) -> None:  # most need nothing
        """Import what building this needs and takes long; called in any thread."""

    def secrets(self) -> Iterator[tuple[SecretKey, Source]]:
        """Key and source of every secret."""
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, Source):
                yield key, value

    def signing_keys(self) -> Iterator[tuple[str, LoadKey]]:
        """Key of every secret that has to be a key that signs, and what reads it as that."""
        yield from ()

    def named(self) -> tuple[str, ...]:
        """Names of other credentials that this one uses."""
        return ()


class _ByType:
    """A table's ``type`` is the name of the file that knows it; only files of types in use are imported."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        kinds = plugins.modules("proxy.credentials")
        parsers = {kind: no_info_plain_validator_function(partial(_parsed, kind)) for kind in kinds}
        return tagged_union_schema(dict(parsers), discriminator="type")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        union: Any = reduce(or_, plugins.members("proxy.credentials", Credential))  # Any: made at run time
        return handler(TypeAdapter(Annotated[union, Field(discriminator="type")]).core_schema)


def _parsed(kind: str, value: object) -> Credential:
    return plugins.member("proxy.credentials", kind, Credential).model_validate(value)


CredentialTable = Annotated[Credential, _ByType]

__all__ = [
    "AUTHORIZATION",
    "MASK",
    "Context",
    "Credential",
    "CredentialTable",
    "LoadKey",
    "Scheme",
    "SecretKey",
    "masked",
]
