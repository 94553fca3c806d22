"""A route: what it makes of a request on the way out, and of the answer on the way back.

What a route is stands in its settings; `Route` is one at work.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import httpx
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    SecretStr,
    Tag,
    WithJsonSchema,
    model_validator,
)

from proxy.credentials import CredentialTable, Scheme
from proxy.errors import BodyTooLarge, Denied, ReadTimeout
from proxy.gateway import Answer, Inbound, Story
from proxy.gateway.body import NO_BODY, Body, LimitSettings, NoBody
from proxy.gateway.cors import readable
from proxy.gateway.exchange import Exchange
from proxy.gateway.guard import Admitted
from proxy.gateway.headers import METHOD_OVERRIDES, Head, HeaderRules, RequestHeaders, ResponseHeaders, wants_websocket
from proxy.gateway.policy import Policy, Rule
from proxy.gateway.problem import success_note
from proxy.gateway.retry import RetrySettings
from proxy.gateway.rewrite import Place, rewrite
from proxy.gateway.upstream import Draft
from proxy.listeners import Address
from proxy.transport.tls import TlsSettings
from proxy.values import Duration, Model, is_loopback, split_words


def _upstream(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError('not a URL; right would be "https://api.example.com/base"') from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError('not an http or https URL; right would be "https://api.example.com/base"')
    if url.userinfo:
        raise ValueError("holds a user name; right would be a credential of type basic")
    if url.query or url.fragment:
        raise ValueError("holds a query or fragment; right would be a URL that ends with its path")
    return url


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


def _outgoing_proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text not in ("", "env") and not re.fullmatch(r"http://[^\s/]+/?", text):
        raise ValueError('not a proxy; right would be "", "env" or "http://proxy.example.com:3128"')
    return value


def _credential_kind(value: object) -> str:
    return "name" if isinstance(value, str) else "table"


Rules = Annotated[tuple[Rule, ...], BeforeValidator(split_words)]
NamedCredential = Annotated[
    Annotated[CredentialTable, Tag("table")] | Annotated[str, Tag("name")], Discriminator(_credential_kind)
]


class RouteSettings(Model):
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
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    cookies: Literal["pass", "drop"] = "pass"
    rewrite: Annotated[tuple[Literal["location", "link", "set-cookie"], ...], BeforeValidator(split_words)] = (
        "location",
        "link",
        "set-cookie",
    )
    tls: TlsSettings = TlsSettings()
    proxy: Annotated[SecretStr, AfterValidator(_outgoing_proxy)] = SecretStr("")  # may hold a password
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


class Route:
    """A route at work.

    Attributes:
        prefix: what its paths begin with, without a slash at the end; empty for all.

    """

    def __init__(
        self,
        name: str,
        settings: RouteSettings,
        exchange: Exchange,
        scheme: Scheme,
        limits: LimitSettings,
        timeout: TimeoutSettings,
    ) -> None:
        self.name = name
        self.settings = settings
        self.exchange = exchange
        self.scheme = scheme
        self.prefix = settings.prefix.encode()
        self._limits = limits
        self._total = timeout.total or None
        self._policy = Policy(settings.allow, settings.deny)
        self._slots = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        drops_cookies = settings.cookies == "drop"
        self._request_headers = RequestHeaders(
            exchange.upstream.authority,
            settings.request_headers,
            drop=(b"authorization", *scheme.fields, *([b"cookie"] if drops_cookies else [])),
        )
        self._response_headers = ResponseHeaders(
            settings.response_headers, drop=[b"set-cookie"] if drops_cookies else []
        )
        self._rewrite = frozenset(name.encode() for name in settings.rewrite)

    def below(self, admitted: Admitted) -> bytes:
        """Return the part of the path that is below the prefix, or below the base if it names the upstream."""
        skip = self.exchange.upstream.base if admitted.upstream is not None else self.prefix
        return admitted.path[len(skip) :] or b"/"

    async def __call__(self, inbound: Inbound, head: Head, admitted: Admitted) -> Answer:
        """Send a request on and make its answer ours.

        Raises:
            ProxyError: the row of the error table that applies.

        """
        story = inbound.story
        self._judge(inbound, head, admitted)
        draft = self._draft(inbound, head, admitted)
        lease = Lease(draft.body, story)
        try:
            if self._slots is not None:
                await self._slots.acquire()
                lease.slots = self._slots
            deadline = None
            if self._total is None:
                lease.response = response = await self.exchange(draft, story)
            else:
                deadline = asyncio.get_running_loop().time() + self._total
                lease.response = response = await self._in_time(draft, story, deadline)
            return self._answer(response, admitted, lease, deadline)
        except BaseException:
            await lease.aclose()
            raise

    async def _in_time(self, draft: Draft, story: Story, deadline: float) -> httpx.Response:
        try:
            async with asyncio.timeout_at(deadline):
                return await self.exchange(draft, story)
        except TimeoutError:
            raise ReadTimeout("the answer did not come within timeout.total", sent=True) from None

    def prepare(self, inbound: Inbound, head: Head, admitted: Admitted) -> httpx.Request:
        """Return what would be sent, but for the credential.

        Raises:
            ProxyError: it would be refused.

        """
        self._judge(inbound, head, admitted)
        return self.exchange.upstream.request(self._draft(inbound, head, admitted))

    # -- out -----------------------------------------------------------------------------------------

    def _judge(self, inbound: Inbound, head: Head, admitted: Admitted) -> None:
        if self._policy.is_open:
            return
        path = self.below(admitted)
        self._policy.check(inbound.method, path)
        # What frameworks execute in place of the method must be allowed, too.
        for name in METHOD_OVERRIDES & head.special.keys():
            for method in head.special[name]:
                self._policy.check(method.decode("latin-1").strip().upper(), path)

    def _draft(self, inbound: Inbound, head: Head, admitted: Admitted) -> Draft:
        keep = False
        if b"authorization" in head.special:
            if self.settings.client_authorization == "refuse":
                raise Denied("this route refuses requests that bring an Authorization")
            keep = self.settings.client_authorization == "keep"
        length = inbound.length
        if length is not None and 0 < self._limits.body < length:
            raise BodyTooLarge("the request's body is over limits.body")
        websocket = wants_websocket(inbound.method, inbound.version, head)
        return Draft(
            inbound.method,
            self._target(admitted),
            self._request_headers.outbound(
                head,
                chunked=inbound.body is not None and length is None,
                websocket=websocket,
                keep_authorization=keep,
            ),
            NO_BODY if inbound.body is None else Body(inbound.body, self._limits),
            idempotency_key=b"idempotency-key" in head.special,
            bare=keep and b"authorization" in self.scheme.fields,
        )

    def _target(self, admitted: Admitted) -> bytes:
        """Return the target below the upstream's base path; every other byte of it is the client's."""
        target = admitted.target
        if target == b"*" or admitted.upstream is not None:
            return target
        if self.settings.strip_prefix:
            target = target[len(self.prefix) :]
        target = self.exchange.upstream.base + target
        return target if target.startswith(b"/") else b"/" + target

    # -- and back ------------------------------------------------------------------------------------

    def _answer(self, response: httpx.Response, admitted: Admitted, lease: Lease, deadline: float | None) -> Answer:
        fields = self._response_headers.inbound(response.headers.raw)
        if self._rewrite and not self._rewrite.isdisjoint(name.lower() for name, _ in fields):
            fields = rewrite(fields, self._rewrite, self._place(admitted))
        note = success_note(lease.story)
        if note is not None:
            fields.append(note)
        if admitted.origin is not None:
            fields = readable(fields, admitted.origin)
        extensions = response.extensions
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return Answer(
            response.status_code,
            fields,
            response.stream,
            extensions.get("reason_phrase", b""),
            duplex=extensions.get("network_stream") if response.status_code == 101 else None,
            deadline=deadline,
            cleanup=lease.aclose,
        )

    def _place(self, admitted: Admitted) -> Place:
        upstream = self.exchange.upstream
        stripped = self.settings.strip_prefix and admitted.upstream is None
        return Place(
            authority=upstream.plain_authority,
            base=upstream.base if stripped else b"",
            own=b"http://" + admitted.authority,
            prefix=self.prefix if stripped else b"",
            is_plain=upstream.url.scheme == "http",
        )

    async def aclose(self) -> None:
        """Close its connections; its scheme may be another route's, too."""
        await self.exchange.aclose()


@dataclass(slots=True)
class Lease:
    """What a request holds until its answer is through."""

    body: Body | NoBody
    story: Story
    response: httpx.Response | None = None
    slots: asyncio.Semaphore | None = None

    async def aclose(self) -> None:
        """Give everything back."""
        if self.slots is not None:
            self.slots.release()
            self.slots = None
        try:
            if self.response is not None:
                await self.response.stream.aclose()  # type: ignore[union-attr]  # an AsyncByteStream
        finally:
            if isinstance(self.body, Body):
                self.story.received = self.body.received
                await self.body.aclose()
