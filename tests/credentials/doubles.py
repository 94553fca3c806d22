"""What the tests of credentials share: a scheme from a table, a request as the gateway makes it, an exchange."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterable, Iterator
from random import Random
from typing import Any

import httpx

from proxy.clock import Clock
from proxy.credentials import Context, Credential, CredentialTable, Scheme
from proxy.gateway import Story
from proxy.gateway.body import NO_BODY, Body, LimitSettings, NoBody
from proxy.gateway.exchange import Exchange
from proxy.gateway.retry import RetrySettings
from proxy.gateway.upstream import Draft, Upstream
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.transport.messages import raw_request
from proxy.values import Model
from tests.doubles import FakeClock, Script, answer

URL = httpx.URL("https://api.test/base")
HOST = (b"Host", b"api.test")


class Root(Model):
    """As the configuration has one."""

    credential: CredentialTable


def parse(table: dict[str, Any]) -> Credential:
    return Root.model_validate({"credential": table}).credential


def build(
    table: dict[str, Any],
    *,
    issuer: httpx.AsyncBaseTransport | None = None,
    others: dict[str, Scheme] | None = None,
    clock: Clock | None = None,
) -> Scheme:
    clock = clock or FakeClock()
    tokens = Tokens(MemoryStore(), clock, issuer or Script())
    return parse(table).build(Context("api", (others or {}).__getitem__, tokens, clock))


def body(*pieces: bytes, limits: LimitSettings | None = None, length: int | None = None) -> Body:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return Body(source, limits or LimitSettings(), length)


def draft(
    target: bytes = b"/base/x?a=1",
    method: str = "GET",
    fields: Iterable[tuple[bytes, bytes]] = (),
    content: Body | NoBody = NO_BODY,
) -> Draft:
    return Draft(method, target, [HOST, *fields], content)


def request(
    target: bytes = b"/base/x?a=1",
    method: str = "GET",
    fields: Iterable[tuple[bytes, bytes]] = (),
    content: Body | NoBody = NO_BODY,
) -> httpx.Request:
    """One as the exchange hands it to a flow."""
    made = draft(target, method, fields, content)
    return raw_request(made.method, URL, made.fields, made.body, {"target": made.target})


async def applied(scheme: Scheme, to: httpx.Request | None = None) -> httpx.Request:
    """The first request of a flow, which then ends."""
    flow = scheme.async_auth_flow(to or request())
    first = await anext(flow)
    await flow.aclose()
    return first


def values(request: httpx.Request, name: str) -> list[bytes]:
    return [value for key, value in request.headers.raw if key.lower() == name.lower().encode()]


def target(request: httpx.Request) -> bytes:
    found: bytes = request.extensions["target"]
    return found


def written(request: httpx.Request) -> bytes:
    """All that a request sends but its body."""
    return b"\n".join([target(request), *(b": ".join(field) for field in request.headers.raw)])


class Bench:
    """An exchange with a scripted API, and a scripted elsewhere."""

    def __init__(self, auth: httpx.Auth, *steps: httpx.Response | Exception | int, elsewhere: Script | None = None):
        self.api = Script(*steps)
        self.elsewhere = elsewhere or Script()
        self.story = Story("GET", "/x", 0.0)
        upstream = Upstream(URL, self.api, self.elsewhere)
        self.exchange = Exchange(upstream, auth, RetrySettings(), clock=FakeClock(), random=Random(1))

    async def __call__(self, draft_: Draft | None = None) -> httpx.Response:
        self.story = Story("GET", "/x", 0.0)
        return await self.exchange(draft_ or draft(), self.story)

    def sent(self, name: str) -> list[bytes]:
        """Each request's value of a field, b"" for none."""
        return [b"|".join(values(each, name)) for each in self.api.requests]


async def content(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


def chain(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def everything(failure: BaseException) -> str:
    """All that could be printed of a failure and of what it came from."""
    texts = ["".join(traceback.format_exception(failure))]
    texts += [f"{each} {each!r} {vars(each)} {each.args} {getattr(each, 'object', '')!r}" for each in chain(failure)]
    return "".join(texts)


def answer_401(to: httpx.Request, challenge: str = "") -> httpx.Response:
    """A refusal as the exchange hands it to a flow."""
    headers = [(b"WWW-Authenticate", challenge.encode())] if challenge else []
    response = answer(401, headers)
    response.request = to
    return response
