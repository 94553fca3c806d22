"""A route at work: what it makes of a request on the way out, and of the answer on the way back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx

from proxy.credentials import MASK, Scheme
from proxy.errors import BodyTooLarge, CredentialError, Denied, ReadTimeout, SecretError, TurnTimeout
from proxy.gateway import Answer, Inbound, RawHeaders, Story
from proxy.gateway.body import NO_BODY, SPOOLING, Body, LimitSettings, NoBody, WholeBody
from proxy.gateway.cors import readable
from proxy.gateway.exchange import Exchange
from proxy.gateway.guard import Admitted
from proxy.gateway.headers import (
    LENGTH,
    METHOD_OVERRIDES,
    NAMING,
    PATH_OVERRIDES,
    REWRITTEN,
    TYPE,
    RequestHeaders,
    ResponseHeaders,
    wants_websocket,
)
from proxy.gateway.navigation import SANDBOX
from proxy.gateway.policy import Policy, methods_of
from proxy.gateway.problem import success_note
from proxy.gateway.rewrite import Place, is_below, path_at, plain_authority, rewrite, rewrite_request
from proxy.gateway.settings import RouteSettings, TimeoutSettings
from proxy.gateway.target import check_path
from proxy.gateway.upstream import Draft
from proxy.threads import Threads
from proxy.transport import SMALL


class Route:
    """A route at work.

    Attributes:
        prefix: what its paths begin with, without a slash at the end; empty for all.
        top: the same on the upstream: its base path, and the prefix where that is not stripped.

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
        self.top = exchange.upstream.base + (b"" if settings.strip_prefix else self.prefix)
        self._limits = limits
        self._small = min(limits.replay_memory, SMALL)
        self._spool = Threads(f"spool of {name}", SPOOLING)
        self._total = timeout.total or None
        self._policy = Policy(settings.allow, settings.deny)
        self._slots = asyncio.Semaphore(limits.concurrency) if limits.concurrency else None
        drops_cookies = settings.cookies == "drop"
        is_bounded = not self._policy.is_open or self.top
        self._request_headers = RequestHeaders(
            exchange.upstream.authority,
            settings.request_headers,
            drop=(
                b"authorization",
                *scheme.fields,
                *([b"cookie"] if drops_cookies else []),
                *(PATH_OVERRIDES if is_bounded else []),
            ),
        )
        self._secrets = tuple(settings.request_headers.secrets())
        self._authorities = {
            exchange.upstream.plain_authority,
            plain_authority(self._request_headers.host, exchange.upstream.url.raw_scheme + b":"),
        }
        self._rewrite_request = frozenset(name.encode() for name in settings.rewrite_request)
        self._rewrite = frozenset(name.encode() for name in settings.rewrite)
        self._response_headers = ResponseHeaders(
            settings.response_headers,
            drop=[b"set-cookie"] if drops_cookies else [],
            rewrite=self._rewrite,
            sandbox=not settings.browser,
        )

    def below(self, admitted: Admitted) -> bytes:
        """Return the part of the path that rules are judged on, whatever the form of the target."""
        skip = self.top if admitted.upstream is not None else self.prefix
        return admitted.path[len(skip) :] or b"/"

    async def __call__(self, inbound: Inbound, admitted: Admitted) -> Answer:
        """Send a request on and make its answer ours.

        Raises:
            ProxyError: the row of the error table that applies.

        """
        story = inbound.story
        draft = self._draft(inbound, admitted)
        lease: Lease | None = None
        if self._slots is not None or isinstance(draft.body, Body):
            lease = Lease(draft.body, story, self._slots)
            draft.slot = lease if self._slots is not None else None
        response: httpx.Response | None = None
        deadline: float | None = None
        try:
            if self._total is None:
                if draft.slot is not None or self._secrets:
                    await self._complete(draft)
                response = await self.exchange(draft, story)
            else:
                deadline = asyncio.get_running_loop().time() + self._total - self.exchange.age(story)
                response = await self._in_time(draft, story, deadline)
            return self._answer(response, admitted, story, deadline, lease)
        except BaseException:
            if response is not None:
                await response.aclose()
            if lease is not None:
                await lease.aclose()
            raise

    async def _complete(self, draft: Draft) -> None:
        """Wait for the slot, and read the secrets of ``request_headers``."""
        if draft.slot is not None:
            await draft.slot.acquire()
        if self._secrets:
            draft.fields = draft.fields + await self._secret_fields()

    async def _in_time(self, draft: Draft, story: Story, deadline: float) -> httpx.Response:
        try:
            async with asyncio.timeout_at(deadline):
                await self._complete(draft)
                return await self.exchange(draft, story)
        except TimeoutError:
            if story.held:
                raise TurnTimeout(f"timeout.total passed while the request waited {story.held}") from None
            raise ReadTimeout("the answer did not come within timeout.total", sent=True) from None

    def prepare(self, inbound: Inbound, admitted: Admitted) -> httpx.Request:
        """Return what would be sent, but for the credential; secrets are masked.

        Raises:
            ProxyError: it would be refused.

        """
        draft = self._draft(inbound, admitted)
        draft.fields = draft.fields + [(name.encode(), MASK.encode()) for name, _ in self._secrets]
        return self.exchange.upstream.request(draft)

    async def ready(self) -> None:
        """See that the credential and the secrets of ``request_headers`` can be had.

        Raises:
            SecretError, ProxyError: one can't.

        """
        await self.scheme.ready()
        await self._secret_fields()

    async def _secret_fields(self) -> RawHeaders:
        try:
            return [(name.encode(), (await source.get()).encode()) for name, source in self._secrets]
        except SecretError as failure:
            raise CredentialError(f"request_headers.set: {failure}") from None

    # -- out -----------------------------------------------------------------------------------------

    def _judge(self, inbound: Inbound, admitted: Admitted) -> None:
        special = inbound.head.special
        overrides = [value for name in METHOD_OVERRIDES & special.keys() for value in special[name]]
        methods = methods_of(inbound.method, admitted.target, overrides)
        self._policy.check(methods, self.below(admitted))

    def _draft(self, inbound: Inbound, admitted: Admitted) -> Draft:
        if not self._policy.is_open:
            self._judge(inbound, admitted)
        outgoing = inbound.head.outgoing
        if outgoing is None or outgoing.route is not self:
            outgoing = self._outgoing(inbound, admitted)
        body: Body | WholeBody | NoBody = NO_BODY
        if inbound.body is not None:
            if inbound.length is not None and 0 < self._limits.body < inbound.length:
                raise BodyTooLarge("the request's body is over limits.body")
            body = self._taken(inbound) or Body(inbound.body, self._limits, inbound.length, self._spool)
        return Draft(inbound.method, self._target(admitted), outgoing.fields, body, outgoing.is_safe, outgoing.bare)

    def _taken(self, inbound: Inbound) -> WholeBody | None:
        """Take a small body that is here already, if it may be kept in memory."""
        if inbound.length is None or inbound.length > self._small:
            return None
        whole = inbound.whole()
        if whole is None:
            return None
        inbound.story.received = len(whole)
        return WholeBody(whole)

    def _outgoing(self, inbound: Inbound, admitted: Admitted) -> Outgoing:
        head = inbound.head
        keep = False
        if b"authorization" in head.special:
            if self.settings.client_authorization == "refuse":
                raise Denied("this route refuses requests that bring an Authorization")
            # One that ``Connection`` names does not go on: nothing is kept then, and ours is sent.
            goes_on = any(name.lower() == b"authorization" for name, _ in head.fields)
            keep = goes_on and self.settings.client_authorization == "keep"
        bare = keep and b"authorization" in self.scheme.fields
        fields = self._request_headers.outbound(
            head,
            chunked=inbound.body is not None and inbound.length is None,
            websocket=wants_websocket(inbound.method, inbound.version, head),
            keep_authorization=keep,
            readable=self.scheme.reads_body and not bare,
        )
        names_proxy = not NAMING.isdisjoint(head.special)
        if names_proxy:
            fields = self._renamed(fields, inbound, admitted)
        outgoing = Outgoing(self, fields, b"idempotency-key" in head.special, bare)
        if b"upgrade" not in head.special and not names_proxy:  # these do not depend on the fields alone
            head.outgoing = outgoing
        return outgoing

    def _renamed(self, fields: RawHeaders, inbound: Inbound, admitted: Admitted) -> RawHeaders:
        """Have request fields that name the proxy name the upstream.

        Raises:
            Denied: a ``Destination`` (RFC 4918, section 10.3) is not the route's, or a rule forbids it.
            MalformedRequest: it holds a dot segment.

        """
        names = self._rewrite_request
        if admitted.origin is not None:
            names = names - {b"origin"}
        place = self._place(admitted)
        for value in inbound.head.special.get(b"destination", ()):
            url = place.upstream_url(value) if b"destination" in names else value
            self._check_destination(inbound.method, url)
        return rewrite_request(fields, names, place)

    def _check_destination(self, method: str, url: bytes) -> None:
        path = path_at(url, self._authorities)
        if path is None:
            return  # on another server; whether to copy there is for the upstream to decide
        check_path(path)
        if not is_below(path, self.top):
            raise Denied("the Destination lies outside of the route")
        self._policy.check([method], path[len(self.top) :] or b"/")

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

    def _answer(
        self,
        response: httpx.Response,
        admitted: Admitted,
        story: Story,
        deadline: float | None,
        lease: Lease | None,
    ) -> Answer:
        fields, found = self._response_headers.inbound(response.headers.raw)
        if found & REWRITTEN:
            fields = rewrite(fields, self._rewrite, self._place(admitted))
        is_browser = admitted.site or admitted.origin is not None
        if is_browser and not found & TYPE and not self.settings.browser:
            fields = [*fields, SANDBOX]  # a browser guesses the type
        note = success_note(story)
        if note:
            fields = fields + note
        if admitted.origin is not None:
            fields = readable(fields, admitted.origin)
        status, extensions, stream = response.status_code, response.extensions, response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        return Answer(
            status,
            fields,
            stream,
            extensions.get("reason_phrase", b""),
            duplex=extensions.get("network_stream") if status == 101 else None,
            deadline=deadline,
            cleanup=None if lease is None else lease.aclose,
            has_length=found & LENGTH != 0,
        )

    def _place(self, admitted: Admitted) -> Place:
        upstream = self.exchange.upstream
        is_ours = admitted.upstream is None  # else the client's URLs are the upstream's but for the scheme
        return Place(
            authority=upstream.plain_authority,
            base=upstream.base if is_ours else b"",
            own=b"http://" + admitted.authority,
            prefix=self.prefix if is_ours and self.settings.strip_prefix else b"",
            route=self.prefix if is_ours else b"",
            origin=upstream.url.raw_scheme + b"://" + self._request_headers.host,
            strip=self.scheme.without_credential,
            is_plain=upstream.url.scheme == "http",
        )

    async def aclose(self) -> None:
        """Close its connections; its scheme may be another route's, too."""
        await self.exchange.aclose()


@dataclass(frozen=True, slots=True, repr=False)
class Outgoing:
    """What a route makes of a head.

    Attributes:
        fields: without the credential.
        is_safe: whether the client says that it may be repeated (``Idempotency-Key``).
        bare: whether it goes without the credential, because the client brought its own.

    """

    route: Route
    fields: RawHeaders
    is_safe: bool
    bare: bool


@dataclass(slots=True)
class Lease:
    """What a request holds until its answer is through."""

    body: Body | WholeBody | NoBody
    story: Story
    slots: asyncio.Semaphore | None = None
    has_slot: bool = False

    async def acquire(self) -> None:
        """Wait for a slot, if it has none."""
        if self.slots is None or self.has_slot:
            return
        if self.slots.locked():
            self.story.held = "for its turn: limits.concurrency requests are under way"
        await self.slots.acquire()
        self.has_slot = True
        self.story.held = ""

    def release(self) -> None:
        """Free its slot, if it has one."""
        if self.slots is not None and self.has_slot:
            self.has_slot = False
            self.slots.release()

    async def aclose(self) -> None:
        """Give everything back."""
        self.release()
        if isinstance(self.body, Body):
            self.story.received = self.body.received
            await self.body.aclose()
