"""What a route makes of a request on the way out and of the answer on the way back, and its settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import pytest

from proxy.credentials import AUTHORIZATION, Scheme
from proxy.errors import BodyTooLarge, CredentialError, Denied, MalformedRequest, NoRoute, ReadTimeout, TurnTimeout
from proxy.gateway import Answer, Entrance, Inbound, Story
from proxy.gateway.exchange import Exchange
from proxy.gateway.gates import ROUTE
from proxy.gateway.guard import Guard
from proxy.gateway.headers import read
from proxy.gateway.retry import RetrySettings
from proxy.gateway.route import Route
from proxy.gateway.settings import RouteSettings
from proxy.gateway.table import RouteTable
from proxy.gateway.upstream import Upstream
from tests.doubles import FakeClock, HurriedClock, Pieces, Script, answer, settle


class Signing(Scheme):
    fields = AUTHORIZATION

    async def apply(self, request: httpx.Request) -> None:
        request.headers["Authorization"] = "ours"


class Case:
    """A route over a script."""

    def __init__(
        self,
        *steps: Any,
        auth: Scheme | None = None,
        clock: FakeClock | None = None,
        attempts: int = 1,
        **settings: Any,
    ) -> None:
        self.script = Script(*steps)
        self.settings = RouteSettings.model_validate({"upstream": "https://api.test/v1", **settings})
        upstream = Upstream(self.settings.upstream, self.script, Script())
        self.scheme = auth or Signing()
        retry = RetrySettings(attempts=attempts)
        exchange = Exchange(upstream, self.scheme, retry, clock=clock or HurriedClock(), random=Random(1))
        self.route = Route("api", self.settings, exchange, self.scheme, self.settings.limits, self.settings.timeout)
        self.story = Story("GET", "/", 0.0)

    async def send(
        self,
        target: bytes = b"/x",
        *fields: tuple[bytes, bytes],
        method: str = "GET",
        body: bytes | None = None,
        length: int | None = None,
        whole: bytes | None = None,
        origins: tuple[str, ...] = (),
    ) -> Answer:
        headers = [(b"Host", b"localhost:8080"), *fields]
        inbound = Inbound(method, target, read(headers), (1, 1), Entrance("127.0.0.1:8080", 8080), self.story)
        if body is not None:
            inbound.body, inbound.length = _source(body), length
            inbound.whole = lambda: whole
        return await self.route(inbound, await Guard(allowed_origins=origins).admit(inbound))

    @property
    def sent(self) -> httpx.Request:
        return self.script.requests[-1]

    @property
    def target(self) -> bytes:
        target = self.sent.extensions["target"]
        assert isinstance(target, bytes)
        return target


def _source(body: bytes) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    return pieces


# -- out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "target", "sent"),
    [
        ({"prefix": "/api"}, b"/api/a%2Fb?x=%7e&y", b"/v1/a%2Fb?x=%7e&y"),
        ({"prefix": "/api"}, b"/api", b"/v1"),
        ({"prefix": "/api"}, b"/api?", b"/v1?"),
        ({"prefix": "/api"}, b"/api/", b"/v1/"),
        ({"prefix": "/api"}, b"/api//double/", b"/v1//double/"),
        ({"prefix": "/api", "strip_prefix": False}, b"/api/a", b"/v1/api/a"),
        ({"prefix": "/api", "upstream": "https://api.test"}, b"/api", b"/"),
        ({"prefix": "/api", "upstream": "https://api.test/"}, b"/api?q", b"/?q"),
        ({"upstream": "https://api.test/deep/er/"}, b"/a", b"/deep/er/a"),
        ({}, b"http://api.test/v1/a?b", b"/v1/a?b"),
    ],
)
async def test_the_target_arrives_below_the_base_path(settings: dict[str, Any], target: bytes, sent: bytes) -> None:
    case = Case(200, **settings)
    host = [(b"Host", b"api.test")] if target.startswith(b"http:") else []
    if host:
        inbound = Inbound("GET", target, read(host), (1, 1), Entrance("x", 8080), case.story)
        await case.route(inbound, await Guard().admit(inbound))
    else:
        await case.send(target)
    assert case.target == sent
    assert case.sent.headers.raw[0] == (b"Host", b"api.test")


@pytest.mark.parametrize(
    ("whole", "memory", "kept"),
    [(b"abc", "3B", b"abc"), (b"abc", "2B", None), (None, "1MiB", None)],
    ids=["small", "more-than-may-be-kept", "not-here-yet"],
)
async def test_a_small_body_that_is_here_is_taken_as_a_whole(
    whole: bytes | None, memory: str, kept: bytes | None
) -> None:
    case = Case(200, limits={"replay_memory": memory})
    await (await case.send(method="POST", body=b"abc", length=3, whole=whole)).aclose()
    assert case.script.wholes == [kept]
    assert case.script.bodies == [b"abc"]
    assert case.story.received == 3


async def test_options_of_the_whole_server_stay_an_asterisk() -> None:
    case = Case(200)
    await case.send(b"*", method="OPTIONS")
    assert case.target == b"*"


async def test_the_clients_authorization_is_replaced() -> None:
    case = Case(200)
    await case.send(b"/", (b"authorization", b"theirs"), (b"AUTHORIZATION", b"again"))
    assert case.sent.headers.get_list("authorization") == ["ours"]


async def test_a_kept_authorization_keeps_ours_away() -> None:
    case = Case(200, 200, client_authorization="keep")
    await case.send(b"/", (b"Authorization", b"theirs"))
    assert case.sent.headers.get_list("authorization") == ["theirs"]
    await case.send(b"/")
    assert case.sent.headers.get_list("authorization") == ["ours"]


async def test_a_kept_authorization_goes_beside_a_key_elsewhere() -> None:
    class Key(Scheme):
        fields = frozenset({b"x-key"})

        async def apply(self, request: httpx.Request) -> None:
            request.headers["X-Key"] = "ours"

    case = Case(200, auth=Key(), client_authorization="keep")
    await case.send(b"/", (b"Authorization", b"theirs"), (b"x_key", b"theirs"), (b"X-Key", b"theirs"))
    assert case.sent.headers.get("authorization") == "theirs"
    assert [value for name, value in case.sent.headers.raw if b"ey" in name] == [b"ours"]


async def test_an_authorization_can_be_refused() -> None:
    case = Case(client_authorization="refuse")
    with pytest.raises(Denied):
        await case.send(b"/", (b"Authorization", b"theirs"))
    assert not case.script.requests


async def test_the_routes_own_fields_and_cookies() -> None:
    case = Case(
        answer(200, [(b"Set-Cookie", b"a=b"), (b"X-Old", b"1"), (b"X-Gone", b"2")]),
        cookies="drop",
        request_headers={"set": {"User-Agent": "acme/1"}, "remove": ["X-Gone"]},
        response_headers={"set": {"X-Old": "new"}, "remove": ["X-Gone"]},
    )
    got = await case.send(b"/", (b"User-Agent", b"curl"), (b"x-gone", b"1"), (b"Cookie", b"c=d"), (b"X-Kept", b"1"))
    assert case.sent.headers.raw[1:3] == [(b"X-Kept", b"1"), (b"User-Agent", b"acme/1")]
    assert "cookie" not in case.sent.headers
    assert got.headers == [(b"X-Old", b"new")]


@pytest.mark.parametrize(("length", "framing"), [(3, []), (None, [b"chunked"])])
async def test_a_body_is_framed_as_it_came(length: int | None, framing: list[bytes]) -> None:
    case = Case(200)
    await case.send(b"/", method="POST", body=b"abc", length=length)
    codings = [value for name, value in case.sent.headers.raw if name.lower() == b"transfer-encoding"]
    assert codings == framing
    assert case.script.bodies == [b"abc"]


OURS = b"http://localhost:8080"


async def test_fields_that_name_the_proxy_name_the_upstream() -> None:
    case = Case(200, 200, prefix="/api")
    fields = [
        (b"Origin", OURS),
        (b"Referer", OURS + b"/api/page?x"),
        (b"Destination", OURS + b"/api/new"),
        (b"X-Other", OURS),
    ]
    await case.send(b"/api/x", *fields, method="POST")
    assert case.sent.headers.raw[1:5] == [
        (b"Origin", b"https://api.test"),
        (b"Referer", b"https://api.test/v1/page?x"),
        (b"Destination", b"https://api.test/v1/new"),
        (b"X-Other", OURS),
    ]
    await case.send(b"/api/x", (b"Referer", b"https://other.test/api/"))
    assert case.sent.headers.raw[1:] == [(b"Referer", b"https://other.test/api/"), (b"Authorization", b"ours")]


async def test_fields_that_name_the_proxy_can_be_left_alone() -> None:
    case = Case(200, rewrite_request=["referer"])
    await case.send(b"/x", (b"Origin", OURS), (b"Referer", OURS + b"/a"))
    assert case.sent.headers.raw[1:3] == [(b"Origin", OURS), (b"Referer", b"https://api.test/v1/a")]


async def test_an_allowed_origin_stays() -> None:
    case = Case(200)
    await case.send(b"/x", (b"Origin", b"http://localhost:3000"), origins=("http://localhost:3000",))
    assert (b"Origin", b"http://localhost:3000") in case.sent.headers.raw
    case = Case(200)
    await case.send(b"/x", (b"Origin", OURS), origins=(OURS.decode(),))
    assert (b"Origin", OURS) in case.sent.headers.raw


async def test_a_host_that_is_set_is_what_the_fields_name() -> None:
    case = Case(200, request_headers={"set": {"Host": "vhost.test"}}, deny=["MOVE /no/**"])
    await case.send(b"/x", (b"Origin", OURS), (b"Destination", OURS + b"/y"), method="MOVE")
    assert case.sent.headers.raw[:3] == [
        (b"Host", b"vhost.test"),
        (b"Origin", b"https://vhost.test"),
        (b"Destination", b"https://vhost.test/v1/y"),
    ]
    with pytest.raises(Denied):
        await case.send(b"/x", (b"Destination", OURS + b"/no/y"), method="MOVE")


@pytest.mark.parametrize(
    ("settings", "destination", "error"),
    [
        ({"deny": ["* /admin/**"]}, OURS + b"/api/admin/x", Denied),
        ({"deny": ["* /admin/**"]}, b"https://api.test/v1/admin/x", Denied),
        ({"deny": ["* /admin/**"]}, b"/api/admin/x", Denied),
        ({"allow": ["* /mine/**"]}, OURS + b"/api/theirs", Denied),
        ({"allow": ["* /mine/**"], "rewrite_request": []}, b"https://api.test/v1/theirs", Denied),
        ({"strip_prefix": False, "deny": ["* /admin/**"]}, OURS + b"/api/admin/x", Denied),
        ({"strip_prefix": False}, b"https://api.test/v1/other", Denied),
        ({}, b"https://api.test/other", Denied),
        ({}, b"/other", Denied),
        ({}, OURS + b"/api/../../other", MalformedRequest),
        ({}, b"https://api.test/v1/%2e%2e/other#", MalformedRequest),
    ],
)
async def test_a_destination_is_judged_as_a_path_is(
    settings: dict[str, Any], destination: bytes, error: type[Exception]
) -> None:
    case = Case(**{"prefix": "/api", **settings})
    with pytest.raises(error):
        await case.send(b"/api/mine/x", (b"Destination", destination), method="COPY")
    assert not case.script.requests


async def test_a_secret_among_the_routes_own_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cr3t")
    case = Case(200, request_headers={"set": {"X-App": {"env": "KEY"}, "X-Plain": "1"}})
    await case.route.ready()
    await case.send(b"/x", (b"x_app", b"theirs"))
    assert [value for name, value in case.sent.headers.raw if name.lower().startswith(b"x")] == [b"1", b"s3cr3t"]
    inbound = Inbound("GET", b"/x", read([(b"Host", b"localhost")]), (1, 1), Entrance("x"), case.story)
    assert case.route.prepare(inbound, Guard().judge(inbound)).headers["X-App"] == "***"


async def test_without_its_secret_nothing_is_sent() -> None:
    case = Case(request_headers={"set": {"X-App": {"env": "NO_SUCH_VARIABLE"}}})
    for use in (case.route.ready, case.send):
        with pytest.raises(CredentialError, match="NO_SUCH_VARIABLE is not set"):
            await use()
    assert not case.script.requests


async def test_a_body_over_the_limit_is_refused_before_a_byte_is_sent() -> None:
    case = Case(limits={"body": "2B"})
    with pytest.raises(BodyTooLarge):
        await case.send(b"/", method="POST", body=b"abc", length=3)
    assert not case.script.requests


async def test_the_policy_is_judged_below_the_prefix() -> None:
    case = Case(200, prefix="/api", allow=["GET /ok/**"])
    await case.send(b"/api/ok/x")
    with pytest.raises(Denied):
        await case.send(b"/api/other")


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"prefix": "/api", "strip_prefix": False, "deny": ["/admin/**"]}, b"http://api.test/v1/api/admin/x"),
        ({"prefix": "/api", "strip_prefix": False, "allow": ["/ok/**"]}, b"http://api.test/v1/api/admin/x"),
        ({"prefix": "/api", "deny": ["/admin/**"]}, b"http://api.test/v1/admin/x"),
        ({"deny": ["DELETE **"]}, b"http://api.test/v1/x?_method=DELETE"),
    ],
)
async def test_the_policy_is_judged_alike_for_an_absolute_target(settings: dict[str, Any], target: bytes) -> None:
    case = Case(**settings)
    head = read([(b"Host", b"api.test")])
    inbound = Inbound("POST", target, head, (1, 1), Entrance("x", 8080), case.story)
    admitted = await Guard().admit(inbound)
    assert RouteTable([case.route]).find(inbound.entrance, admitted) is case.route
    with pytest.raises(Denied):
        await case.route(inbound, admitted)


async def test_a_prefix_that_is_kept_bounds_an_absolute_target_too() -> None:
    case = Case(prefix="/api", strip_prefix=False)
    for target in (b"http://api.test/v1/admin", b"http://api.test/v1/apis", b"http://api.test/api/x"):
        inbound = Inbound("GET", target, read([(b"Host", b"api.test")]), (1, 1), Entrance("x", 8080), case.story)
        with pytest.raises(NoRoute):
            RouteTable([case.route]).find(inbound.entrance, await Guard().admit(inbound))


async def test_prepare_sends_nothing() -> None:
    case = Case()
    headers = [(b"Host", b"localhost")]
    inbound = Inbound("GET", b"/x", read(headers), (1, 1), Entrance("x"), case.story)
    request = case.route.prepare(inbound, Guard().judge(inbound))
    assert request.extensions["target"] == b"/v1/x"
    assert not case.script.requests


# -- and back --------------------------------------------------------------------------------------------


async def test_absolute_urls_of_the_upstream_become_our_own() -> None:
    location = [(b"Location", b"https://api.test/v1/next?page=2"), (b"Link", b'<https://api.test/v1/x>; rel="next"')]
    case = Case(answer(302, location), prefix="/api")
    got = await case.send(b"/api/x")
    assert got.headers == [
        (b"Location", b"http://localhost:8080/api/next?page=2"),
        (b"Link", b'<http://localhost:8080/api/x>; rel="next"'),
    ]


async def test_a_prefix_that_is_kept_does_not_keep_the_base() -> None:
    fields = [(b"Location", b"https://api.test/v1/api/next"), (b"Set-Cookie", b"a=b; Path=/v1/api")]
    case = Case(answer(302, fields), prefix="/api", strip_prefix=False)
    assert (await case.send(b"/api/x")).headers == [
        (b"Location", b"http://localhost:8080/api/next"),
        (b"Set-Cookie", b"a=b; Path=/api"),
    ]


async def test_a_key_that_the_api_repeats_in_a_url_does_not_reach_the_client() -> None:
    class Key(Scheme):
        def without_credential(self, url: bytes) -> bytes:
            return url.replace(b"key=s3cr3t", b"")

    fields = [
        (b"Location", b"https://api.test/v1/x/?key=s3cr3t"),
        (b"Location", b"https://elsewhere.test/?key=s3cr3t"),
        (b"Link", b'<https://api.test/v1/x?key=s3cr3t>; rel="next", </v1/y?key=s3cr3t>; rel="last"'),
    ]
    case = Case(answer(301, fields), auth=Key())
    assert (await case.send()).headers == [
        (b"Location", b"http://localhost:8080/x/?"),
        (b"Location", b"https://elsewhere.test/?"),
        (b"Link", b'<http://localhost:8080/x?>; rel="next", </y?>; rel="last"'),
    ]


async def test_rewriting_can_be_off() -> None:
    location = [(b"Location", b"https://api.test/v1/next")]
    case = Case(answer(302, location), rewrite=[])
    assert (await case.send()).headers == location


async def test_an_untouched_answer_gets_no_field_of_ours() -> None:
    case = Case(answer(200, [(b"X-A", b"1"), (b"X-A", b"2")]))
    got = await case.send()
    assert got.headers == [(b"X-A", b"1"), (b"X-A", b"2")]


async def test_a_page_of_an_allowed_origin_can_read_the_answer() -> None:
    case = Case(answer(200, [(b"Access-Control-Allow-Origin", b"https://other.test")]))
    origin = (b"Origin", b"http://localhost:3000")
    got = await case.send(b"/", origin, origins=("http://localhost:3000",))
    assert (b"Access-Control-Allow-Origin", b"http://localhost:3000") in got.headers
    assert (b"Access-Control-Allow-Origin", b"https://other.test") not in got.headers


async def test_the_answers_end_gives_everything_back() -> None:
    stream = Pieces(b"x")
    case = Case(httpx.Response(200, stream=stream), limits={"concurrency": 1})
    got = await case.send(b"/", method="PUT", body=b"abc", length=3)
    waiting = asyncio.create_task(case.send())
    await settle()
    assert len(case.script.requests) == 1
    await got.aclose()
    assert stream.closed
    assert case.story.received == 3
    second = await waiting
    assert second.status == 200


async def test_a_failure_gives_the_slot_back() -> None:
    case = Case(RuntimeError(), 200, limits={"concurrency": 1})
    with pytest.raises(RuntimeError):
        await case.send()
    assert (await case.send()).status == 200


class Hanging(Scheme):
    async def apply(self, request: httpx.Request) -> None:
        await asyncio.Event().wait()


async def test_total_ends_what_takes_too_long() -> None:
    case = Case(auth=Hanging(), timeout={"total": "10ms"})
    with pytest.raises(ReadTimeout, match=r"did not come within timeout\.total"):
        await case.send()


async def test_total_counts_from_the_head_s_arrival() -> None:
    clock = FakeClock()
    case = Case(auth=Hanging(), clock=clock, timeout={"total": 60})
    await clock.advance(59.9)
    began = asyncio.get_running_loop().time()
    with pytest.raises(ReadTimeout):
        await case.send()
    assert asyncio.get_running_loop().time() - began < 10


async def test_total_covers_the_wait_for_a_turn_and_says_so() -> None:
    case = Case(200, 200, 200, timeout={"total": 0.1}, limits={"concurrency": 1})
    first = await case.send()
    with pytest.raises(TurnTimeout, match=r"waited for its turn: limits\.concurrency requests") as caught:
        await case.send()
    assert (caught.value.status, caught.value.error) == (504, "http_response_timeout")
    await first.aclose()
    assert (await case.send()).status == 200
    assert len(case.script.requests) == 2


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer(429, [(b"Retry-After", b"20")]), "because the API asked to"),
        (answer(503), "to be repeated"),
    ],
)
async def test_total_covers_what_is_waited_out_before_the_next_attempt(response: httpx.Response, why: str) -> None:
    case = Case(response, clock=FakeClock(), attempts=4, timeout={"total": 0.1}, limits={"concurrency": 1})
    with pytest.raises(TurnTimeout, match=f"waited {why}"):
        await case.send()
    assert (await case.send()).status == 200


async def test_total_covers_the_wait_at_a_gate() -> None:
    case = Case(timeout={"total": 0.1}, clock=FakeClock())
    case.route.exchange.gates.hold(ROUTE, 20)
    with pytest.raises(TurnTimeout, match="waited because the API asked to"):
        await case.send()
    assert case.script.requests == []
    await case.route.aclose()


async def test_total_covers_a_slow_upload() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    case = Case(200, timeout={"total": 0.1})
    inbound = Inbound(
        "POST", b"/", read([(b"Host", b"localhost:8080")]), (1, 1), Entrance("127.0.0.1:8080", 8080), case.story
    )
    inbound.body = never
    with pytest.raises(ReadTimeout):
        await case.route(inbound, await Guard().admit(inbound))


@pytest.mark.parametrize("first", [answer(429, [(b"Retry-After", b"20")]), answer(503)])
async def test_one_that_waits_leaves_its_place_to_others(first: httpx.Response) -> None:
    clock = FakeClock()
    case = Case(first, clock=clock, attempts=2, limits={"concurrency": 1})
    waiting = asyncio.create_task(case.send(b"/a"))
    await settle()
    other = await case.send(b"/b")
    await clock.advance(20)
    assert not waiting.done()  # the other one is under way
    await other.aclose()
    assert (await waiting).status == 200
    slots = case.route._slots
    assert slots is not None
    assert slots.locked()
    await (await waiting).aclose()
    assert not slots.locked()


async def test_one_that_leaves_while_it_waits_for_its_place_again_gives_all_back() -> None:
    clock = FakeClock()
    case = Case(answer(429, [(b"Retry-After", b"20")]), clock=clock, attempts=2, limits={"concurrency": 1})
    waiting = asyncio.create_task(case.send(b"/a"))
    await settle()
    other = await case.send(b"/b")
    await clock.advance(20)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await other.aclose()
    assert (await case.send(b"/c")).status == 200


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"X-HTTP-Method-Override", b"x-http-method", b"X-Method-Override",
        b"X_HTTP_Method_Override", b"X-HTTP-Method_Override", b"X.Http.Method.Override",
    ],
)  # fmt: skip
async def test_a_method_that_stands_in_for_the_real_one_must_be_allowed_too(name: bytes) -> None:
    case = Case(200, deny=["DELETE **"])
    with pytest.raises(Denied):
        await case.send(b"/x", (name, b"delete"), method="POST")
    await case.send(b"/x", (name, b"PATCH"), method="POST")
    assert len(case.script.requests) == 1


async def test_https_of_a_plain_upstream_is_another_origin() -> None:
    location = [(b"Location", b"https://127.0.0.1/login"), (b"Link", b"<http://127.0.0.1/next>")]
    case = Case(answer(302, location), upstream="http://127.0.0.1")
    assert (await case.send()).headers == [location[0], (b"Link", b"<http://localhost:8080/next>")]


async def test_http_of_a_tls_upstream_is_what_it_believes_behind_its_terminator() -> None:
    case = Case(answer(302, [(b"Location", b"http://api.test/v1/next")]))
    assert (await case.send()).headers == [(b"Location", b"http://localhost:8080/next")]
