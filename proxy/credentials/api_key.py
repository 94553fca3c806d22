"""A key in a header field, in the query or in a cookie, as APIs have them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

import httpx
from pydantic import Field, model_validator

from proxy.credentials import MASK, Context, Credential, Scheme
from proxy.credentials._cookies import with_cookies
from proxy.credentials._fields import check_field_name, field_value, is_token, set_field
from proxy.credentials._query import with_query
from proxy.secrets import Secret


class ApiKey(Credential):
    """``type = "api_key"``; ``prefix`` stands in front of the value, as it is."""

    type: Literal["api_key"]
    name: str = Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z\-\[\]]+$")
    value: Secret
    place: Literal["header", "query", "cookie"] = Field(default="header", alias="in")
    prefix: str = Field(default="", pattern=r"^[ -~]*$")

    @model_validator(mode="after")
    def _named(self) -> ApiKey:
        if self.place == "header":
            check_field_name(self.name)
        elif self.place == "cookie" and not is_token(self.name):
            raise ValueError(f"{self.name} can't be a cookie's name; brackets are for query parameters")
        return self

    def build(self, context: Context) -> Scheme:  # noqa: ARG002
        """As `Credential.build`."""
        return {"header": HeaderKey, "query": QueryKey, "cookie": CookieKey}[self.place](self)


class _KeyScheme(Scheme):
    def __init__(self, settings: ApiKey) -> None:
        self._settings = settings
        self._name = settings.name

    async def _value(self) -> str:
        return self._settings.prefix + await self._settings.value.get()

    async def ready(self) -> None:
        """As `Scheme.ready`."""
        await self._settings.value.get()


class HeaderKey(_KeyScheme):
    """The key as a header field."""

    def __init__(self, settings: ApiKey) -> None:
        super().__init__(settings)
        self.fields = frozenset({settings.name.lower().encode()})

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        set_field(request, self._name, (await self._value()).encode())

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`; a value with a space in it is no scheme and a token."""
        await self._value()
        set_field(request, self._name, f"{self._settings.prefix}{MASK}".encode())
        return {}


class QueryKey(_KeyScheme):
    """The key as a parameter; one of the client's with this name makes way."""

    def __init__(self, settings: ApiKey) -> None:
        super().__init__(settings)
        self.parameters = frozenset({settings.name})

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        with_query(request, [(self._name, await self._value())])

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        await self._value()
        with_query(request, [(self._name, self._settings.prefix + MASK)], safe="*")
        return {}


class CookieKey(_KeyScheme):
    """The key as a cookie beside the client's."""

    def _set(self, request: httpx.Request, value: str) -> None:
        set_field(request, "Cookie", with_cookies(field_value(request, "Cookie", b";"), [(self._name, value)]))

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`; what a cookie can't hold is percent-encoded, and what is encoded already stays."""
        self._set(request, quote(await self._value(), safe="!#$%&'()*+-./:<=>?@[]^_`{|}~"))

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        await self._value()
        self._set(request, self._settings.prefix + MASK)
        return {}
