"""A key in a header field, in the query or in a cookie, as APIs have them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote, unquote_plus

import httpx
from pydantic import Field

from proxy.credentials import MASK, Context, Credential, Scheme
from proxy.credentials._query import with_query
from proxy.secrets import Secret


class ApiKey(Credential):
    """``type = "api_key"``; ``prefix`` stands in front of the value, as it is."""

    type: Literal["api_key"]
    name: str = Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z\-\[\]]+$")
    value: Secret
    place: Literal["header", "query", "cookie"] = Field(default="header", alias="in")
    prefix: str = Field(default="", pattern=r"^[ -~]*$")

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
        request.headers[self._name] = await self._value()


class QueryKey(_KeyScheme):
    """The key as a parameter; one of the client's with this name makes way."""

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        with_query(request, [(self._name, await self._value())])

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        await self._value()
        with_query(request, [(self._name, self._settings.prefix + MASK)], safe="*")
        return {}


class CookieKey(_KeyScheme):
    """The key as a cookie beside the client's (RFC 6265, section 4.2)."""

    def _set(self, request: httpx.Request, value: str) -> None:
        cookies = "; ".join(request.headers.get_list("cookie"))
        pairs = [pair.strip() for pair in cookies.split(";") if pair.strip()]
        kept = [pair for pair in pairs if unquote_plus(pair.partition("=")[0].strip()) != self._name]
        request.headers["Cookie"] = "; ".join([*kept, f"{self._name}={value}"])

    async def apply(self, request: httpx.Request) -> None:
        """As `Scheme.apply`."""
        self._set(request, quote(await self._value(), safe="!#$&'()*+-./:<=>?@[]^_`{|}~"))

    async def explain(self, request: httpx.Request) -> dict[str, str]:
        """As `Scheme.explain`."""
        await self._value()
        self._set(request, self._settings.prefix + MASK)
        return {}
