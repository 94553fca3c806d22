"""The gateway: whatever goes wrong becomes the answer that it is, and nothing of it shows."""

from __future__ import annotations

import dataclasses
import json
from random import Random
from typing import Any

import pytest

from proxy.credentials import Scheme
from proxy.errors import ConnectionRefused
from proxy.gateway import Answer, Entrance, Inbound, Story
from proxy.gateway.exchange import Exchange
from proxy.gateway.forward import Gateway
from proxy.gateway.guard import Guard
from proxy.gateway.headers import read
from proxy.gateway.retry import RetrySettings
from proxy.gateway.route import Route
from proxy.gateway.settings import RouteSettings
from proxy.gateway.table import RouteTable
from proxy.gateway.upstream import Upstream
from tests.doubles import HurriedClock, Script
from tests.doubles import answer as answer_of

ORIGIN = "http://localhost:3000"


class Case:
    """A gateway with one route over a script."""

    def __init__(self, *steps: Any, route: dict[str, Any] | None = None, **guard: Any) -> None:
        self.script = Script(*steps)
        self.defects: list[Exception] = []
        table = {"upstream": "https://api.test", "prefix": "/api", **(route or {})}
        settings = RouteSettings.model_validate(table)
        upstream = Upstream(settings.upstream, self.script, Script())
        scheme = Scheme()
        exchange = Exchange(upstream, scheme, RetrySettings(attempts=1), clock=HurriedClock(), random=Random(1))
        self.route = Route("api", settings, exchange, scheme, settings.limits, settings.timeout)
        self.gateway = Gateway(Guard(allowed_origins=[ORIGIN], **guard), RouteTable([self.route]), self.defects.append)

    def inbound(self, *fields: tuple[bytes, bytes], method: str = "GET", target: bytes = b"/api/x") -> Inbound:
        headers = [(b"Host", b"localhost"), *fields]
        return Inbound(method, target, read(headers), (1, 1), Entrance("here"), Story(method, "/api/x", 0.0))

    async def send(self, *fields: tuple[bytes, bytes], **request: Any) -> Answer:
        return await self.gateway(self.inbound(*fields, **request))


def told(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    body: dict[str, Any] = json.loads(answer.body)
    return body


async def test_a_request_goes_its_way() -> None:
    case = Case(200)
    inbound = case.inbound()
    answer = await case.gateway(inbound)
    assert answer.status == 200
    assert inbound.story.route == "api"


OPENED = ((b"Sec-Fetch-Site", b"none"), (b"Sec-Fetch-Mode", b"navigate"))
HTML = [(b"Content-Type", b"text/html")]


async def test_what_a_browser_opens_is_confirmed_first() -> None:
    case = Case()
    answer = await case.send(*OPENED)
    assert answer.status == 200
    assert isinstance(answer.body, bytes)
    assert b"GET /api/x" in answer.body
    assert (await case.send(*OPENED, method="POST")).status == 403
    assert (await case.send(*OPENED, target=b"/other")).status == 404
    assert not case.script.requests
    case = Case(200)
    await case.send((b"Sec-Fetch-Site", b"same-origin"), (b"Sec-Fetch-Mode", b"navigate"))
    assert len(case.script.requests) == 1


async def test_a_route_for_browsers_is_opened_at_once() -> None:
    case = Case(answer_of(200, HTML), 200, route={"browser": True})
    assert (await case.send(*OPENED)).headers == HTML
    assert (await case.send(*OPENED, method="POST")).status == 200


@pytest.mark.parametrize("kind", [b"text/html", b"image/svg+xml", b"application/xml; charset=utf-8", b"*/*"])
async def test_documents_of_an_api_run_in_an_origin_of_their_own(kind: bytes) -> None:
    fields = [(b"content-type", kind), (b"Content-Security-Policy", b"default-src 'self'")]
    case = Case(answer_of(200, fields), answer_of(404, fields))
    for _ in range(2):
        assert (await case.send()).headers == [*fields, (b"Content-Security-Policy", b"sandbox")]


async def test_a_browser_does_not_guess_that_it_is_a_document() -> None:
    case = Case(200, 200, answer_of(200, [(b"Content-Type", b"application/json")]))
    own = (b"Sec-Fetch-Site", b"same-origin")
    assert (await case.send(own)).headers == [(b"Content-Security-Policy", b"sandbox")]
    assert (await case.send()).headers == []
    assert (await case.send(own)).headers == [(b"Content-Type", b"application/json")]


@pytest.mark.parametrize("name", [b"Refresh", b"Content-Security-Policy", b"content-security-policy-report-only"])
async def test_a_text_sends_nothing_as_the_proxys_own_page(name: bytes) -> None:
    fields = [(b"Content-Type", b"text/plain"), (name, b"0;url=/other/x")]
    case = Case(answer_of(200, fields))
    assert (await case.send()).headers == [*fields, (b"Content-Security-Policy", b"sandbox")]
    case = Case(answer_of(200, fields), route={"browser": True})
    assert (await case.send()).headers == fields


async def test_a_type_that_the_route_sets_counts() -> None:
    case = Case(200, route={"response_headers": {"set": {"Content-Type": "text/html"}}})
    assert (await case.send()).headers == [*HTML, (b"Content-Security-Policy", b"sandbox")]


@pytest.mark.parametrize(
    ("step", "request_", "status", "error"),
    [
        (ConnectionRefused(), {}, 502, "connection_refused"),
        (200, {"target": b"/other"}, 404, "destination_not_found"),
        (200, {"method": "TRACE"}, 405, "http_request_denied"),
        (200, {"target": b"/api/../x"}, 400, "http_request_error"),
    ],
)
async def test_an_error_of_ours_is_told_apart_from_the_apis(
    step: Any, request_: dict[str, Any], status: int, error: str
) -> None:
    case = Case(step)
    answer = await case.send(**request_)
    fields = dict(answer.headers)
    assert answer.status == status
    assert fields[b"Content-Type"] == b"application/problem+json"
    assert fields[b"Proxy-Status"].startswith(b"countersign; error=" + error.encode())
    body = told(answer)
    assert set(body) == {"type", "title", "status", "detail", "message", "route", "request_id"}
    assert body["status"] == status
    assert body["message"] == body["detail"]


async def test_a_defect_of_ours_is_no_500_and_shows_nothing() -> None:
    case = Case(RuntimeError("s3cret"))
    answer = await case.send()
    assert answer.status == 502
    assert b"proxy_internal_error" in dict(answer.headers)[b"Proxy-Status"]
    assert "s3cret" not in str(told(answer))
    assert [str(defect) for defect in case.defects] == ["s3cret"]


async def test_a_preflight_of_an_allowed_origin_is_answered_here() -> None:
    case = Case()
    answer = await case.send((b"Origin", ORIGIN.encode()), (b"Access-Control-Request-Method", b"PUT"), method="OPTIONS")
    assert answer.status == 204
    assert dict(answer.headers)[b"Access-Control-Allow-Methods"] == b"PUT"
    assert not case.script.requests


async def test_a_page_of_an_allowed_origin_can_read_our_errors() -> None:
    case = Case(ConnectionRefused())
    answer = await case.send((b"Origin", ORIGIN.encode()))
    assert dict(answer.headers)[b"Access-Control-Allow-Origin"] == ORIGIN.encode()


async def test_calls_of_our_own_need_no_client_token() -> None:
    from proxy.secrets.literal import Literal

    token = Literal.model_validate("let me in")
    case = Case(200, ConnectionRefused(), client_token=token)
    assert (await case.send()).status == 407
    assert (await case.gateway.call(case.inbound())).status == 200
    assert (await case.gateway.call(case.inbound())).status == 502


async def test_prepare_tells_the_route_and_the_request() -> None:
    case = Case()
    route, request = case.gateway.prepare(case.inbound())
    assert route is case.route
    assert request.extensions["target"] == b"/x"
    await case.gateway.aclose()


# -- a head that comes again ----------------------------------------------------------------------------


def again(inbound: Inbound, target: bytes = b"/api/x", **other: Any) -> Inbound:
    """The next request of a client that repeats its fields: the server hands in the same head."""
    return dataclasses.replace(inbound, target=target, story=Story("GET", "/api/x", 0.0), **other)


async def test_each_request_of_a_repeated_head_goes_its_own_way() -> None:
    case = Case(200, 200)
    first = case.inbound((b"X-A", b"1"))
    await case.gateway(first)
    case.script.requests[0].headers.raw.append((b"X-Left", b"behind"))
    await case.gateway(again(first, b"/api/y"))
    assert [sent.extensions["target"] for sent in case.script.requests] == [b"/x", b"/y"]
    assert case.script.requests[1].headers.raw == [(b"Host", b"api.test"), (b"X-A", b"1")]


@pytest.mark.parametrize(("target", "status"), [(b"/api/../x", 400), (b"/api/%2e%2e/x", 400), (b"/other", 404)])
async def test_a_repeated_head_admits_no_other_target(target: bytes, status: int) -> None:
    case = Case(200)
    first = case.inbound()
    assert (await case.gateway(first)).status == 200
    assert (await case.gateway(again(first, target))).status == status


async def test_a_repeated_head_is_judged_anew_in_another_version_and_for_another_method() -> None:
    case = Case(200)
    first = case.inbound((b"Transfer-Encoding", b"chunked"))
    assert (await case.gateway(first)).status == 200
    assert (await case.gateway(again(first, version=(1, 0)))).status == 400
    assert (await case.gateway(again(first, method="TRACE"))).status == 405


async def test_another_configuration_judges_and_sends_a_repeated_head_anew() -> None:
    old, new = Case(200), Case(200, route={"request_headers": {"set": {"X-New": "1"}}})
    strict = Case(route={"client_authorization": "refuse"})
    first = old.inbound((b"Authorization", b"theirs"), (b"Origin", ORIGIN.encode()))
    assert (await old.gateway(first)).status == 200
    assert (await new.gateway(again(first))).status == 200
    assert (b"X-New", b"1") in new.script.requests[0].headers.raw
    assert (await strict.gateway(again(first))).status == 403
    closed = Gateway(Guard(), strict.gateway.table, strict.defects.append)
    assert (await closed(again(first))).status == 403
