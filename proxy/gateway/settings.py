"""What stands in ``[routes.NAME]``."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Annotated, Literal

import httpx
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    WithJsonSchema,
    model_validator,
)

from proxy.credentials import Credential, CredentialTable
from proxy.gateway.body import LimitSettings
from proxy.gateway.headers import RequestRules, ResponseRules
from proxy.gateway.policy import Rule
from proxy.gateway.retry import RetrySettings
from proxy.listeners import Address
from proxy.transport.origin import PREFIX, UnixURL, socket_of
from proxy.transport.outgoing import NONE
from proxy.transport.proxies import ProxySettings
from proxy.transport.tls import TlsSettings
from proxy.values import Duration, Model, is_loopback, split_words


def _upstream(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        url = UnixURL.parse(value) if value.startswith(PREFIX) else httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError('not a URL; right would be "https://api.example.com/base"') from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError('not an http or https URL; right would be "https://api.example.com/base"')
    if url.userinfo:
        raise ValueError("holds a user name; right would be a credential of type basic")
    if url.query or url.fragment:
        raise ValueError("holds a query or fragment; right would be a URL that ends with its path")
    return url


def _http2(value: bool) -> bool:
    if value and find_spec("h2") is None:
        raise ValueError("needs a package; right would be pip install 'countersign-proxy[http2]', or false")
    return value


def _prefix(value: str) -> str:
    if (value and not re.fullmatch(r"(/[!-~]*)", value)) or re.search(r"[?#\\]|//|/\.{1,2}(/|$)", value):
        raise ValueError('not a path prefix; right would be "/github"')
    return value.rstrip("/")


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+|\[[0-9A-Fa-f:.]+\]", value):
        raise ValueError('not a host name without a port; right would be "github.localhost"')
    return value.lower()


UpstreamURL = Annotated[
    httpx.URL,
    BeforeValidator(_upstream),
    WithJsonSchema({"type": "string", "format": "uri", "title": "Upstream"}),
]
Prefix = Annotated[str, AfterValidator(_prefix)]
Host = Annotated[str, AfterValidator(_host)]


class TimeoutSettings(Model):
    """``[timeout]`` in seconds; 0 for none."""

    connect: Duration = 5.0
    read: Duration = 60.0
    total: Duration = 0.0


def _credential_kind(value: object) -> str | None:
    return "name" if isinstance(value, str) else "table" if isinstance(value, dict | Credential) else None


Rules = Annotated[tuple[Rule, ...], BeforeValidator(split_words)]
NamedCredential = Annotated[
    Annotated[CredentialTable, Tag("table")] | Annotated[str, Tag("name")],
    Discriminator(
        _credential_kind,
        custom_error_type="credential",
        custom_error_message="is neither a name nor a table; expected the NAME of a [credentials.NAME], or "
        '{ type = "…", … }; for several, a table of type "all", "fallback" or "rotate" with credentials = ["a", "b"]',
    ),
]


class RouteSettings(ProxySettings):
    """``[routes.NAME]``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    prefix: Prefix = ""
    host: Host | None = None
    listen: Address | None = None
    upstream: UpstreamURL
    credential: NamedCredential = "none"
    strip_prefix: bool = True
    client_authorization: Literal["replace", "keep", "refuse"] = "replace"
    allow: Rules = ()
    deny: Rules = ()
    request_headers: RequestRules = RequestRules()
    response_headers: ResponseRules = ResponseRules()
    browser: bool = False
    cookies: Literal["pass", "drop"] = "pass"
    rewrite: Annotated[tuple[Literal["location", "link", "set-cookie"], ...], BeforeValidator(split_words)] = (
        "location",
        "link",
        "set-cookie",
    )
    rewrite_request: Annotated[
        tuple[Literal["origin", "referer", "destination"], ...], BeforeValidator(split_words)
    ] = ("origin", "referer", "destination")
    tls: TlsSettings = TlsSettings()
    http2: Annotated[bool, AfterValidator(_http2)] = False
    insecure: bool = False
    retry: RetrySettings = RetrySettings()
    timeout: TimeoutSettings = TimeoutSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _secure(self) -> RouteSettings:
        mistakes = []
        if self.upstream.scheme == "http" and not is_loopback(self.upstream.host):
            mistakes.append("the upstream is plain http beyond this machine; right would be https, or insecure = true")
        if not self.tls.verify:
            mistakes.append("tls.verify = false also needs insecure = true")
        if mistakes and not self.insecure:
            raise ValueError("; ".join(mistakes))
        return self

    @model_validator(mode="after")
    def _reachable(self) -> RouteSettings:
        if self.http2 and self.upstream.scheme != "https":
            raise ValueError("http2 = true wants TLS; right would be an upstream with https, or http2 = false")
        if self.proxy is not None and self.proxy.text != NONE and socket_of(self.upstream):
            raise ValueError('no outgoing proxy leads to a unix socket; expected proxy = "none"')
        return self
