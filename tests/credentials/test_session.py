from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy.credentials import Scheme
from proxy.errors import CredentialError, SecretError, TokenEndpointDown
from proxy.gateway.upstream import Upstream
from proxy.tokens.endpoint import Refused
from proxy.transport import HTTP11Transport
from tests.credentials.doubles import Bench, applied, build, draft, everything, parse, request, values
from tests.credentials.sites import at_home, site
from tests.doubles import START, FakeClock, Script, answer

CANARY = "canary-pw"
LOGIN = "https://api.test/login"
FORM: dict[str, Any] = {"type": "session", "login": {"url": LOGIN, "form": {"user": "me", "password": CANARY}}}
BY_TOKEN = {**FORM, "token": "data.access"}


def welcome(*cookies: str, status: int = 200, body: bytes = b"<html>") -> httpx.Response:
    return answer(status, [(b"Set-Cookie", cookie.encode("latin-1")) for cookie in cookies], body)


class Site:
    """A scripted site's login."""

    def __init__(self, *steps: httpx.Response | int | Exception, **keys: Any) -> None:
        self.login = Script(*steps)
        self.clock = FakeClock()
        self.scheme: Scheme = build({**FORM, **keys}, issuer=self.login, clock=self.clock)


# -- the login --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "method", "kind", "body"),
    [
        ({"form": {"user": "me ä", "pin": 7, "empty": ""}}, "POST", "application/x-www-form-urlencoded",
         b"user=me+%C3%A4&pin=7&empty="),
        ({"json": {"user": {"name": "me", "n": [1, True, None, "x"]}}}, "POST", "application/json",
         b'{"user": {"name": "me", "n": [1, true, null, "x"]}}'),
        ({"json": {}}, "POST", "application/json", b"{}"),
        ({"method": "PUT", "json": {"a": ""}}, "PUT", "application/json", b'{"a": ""}'),
        ({"method": "GET", "headers": {"X-User": "me"}}, "GET", None, b""),
    ],
)  # fmt: skip
async def test_what_is_sent(login: dict[str, Any], method: str, kind: str | None, body: bytes) -> None:
    home = Site(welcome("sid=1"), login={"url": f"{LOGIN}?a=1", **login})
    await home.scheme.ready()
    (asked,) = home.login.requests
    assert (asked.method, str(asked.url), asked.headers.get("content-type")) == (method, f"{LOGIN}?a=1", kind)
    assert home.login.bodies == [body]


async def test_values_may_be_secrets_and_fields_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", CANARY)
    env = {"env": "PW"}
    home = Site(welcome("sid=1"), login={"url": LOGIN, "json": {"a": [{"b": env}]}, "headers": {"accept": env}})
    await home.scheme.ready()
    assert json.loads(home.login.bodies[0]) == {"a": [{"b": CANARY}]}
    assert home.login.requests[0].headers.get_list("accept") == [CANARY]
    assert home.login.requests[0].headers["user-agent"].startswith("countersign/")
    other = Site(welcome("sid=1"), login={**FORM["login"], "headers": {"user-agent": "mine"}})
    await other.scheme.ready()
    assert other.login.requests[0].headers.get_list("user-agent") == ["mine"]
    told = parse({**FORM, "login": {"url": LOGIN, "json": {"a": [{"b": env}]}, "headers": {"X": env}}}).secrets()
    assert [key for key, _ in told] == [("login", "headers", "X"), ("login", "json", "a", "0", "b")]


@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        (answer(401), Refused, "the login refused: status 401"),
        (answer(403), Refused, "the login refused: status 403"),
        (answer(400, [], CANARY.encode()), Refused, "the login refused: status 400"),
        (answer(404), CredentialError, "the login answered 404"),
        (answer(200), CredentialError, "the login set no cookie"),
        (welcome("sid"), CredentialError, "the login set no cookie"),
        (welcome("sid=1; Max-Age=0"), CredentialError, "the login set no cookie"),
        (answer(503, [(b"Retry-After", b"9")]), TokenEndpointDown, "the login answered 503"),
        (answer(429, [(b"Retry-After", b"9")]), TokenEndpointDown, "the login answered 429"),
    ],
)
async def test_what_the_login_answers(step: httpx.Response, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        await Site(step).scheme.ready()
    assert CANARY not in everything(caught.value)


@pytest.mark.parametrize(
    ("status", "says"), [(401, "refused: status 401"), (422, "refused: status 422"), (404, "answered 404")]
)
async def test_what_the_login_said_is_shown_without_secrets(status: int, says: str) -> None:
    body = json.dumps({"error": {"code": "no_user", "message": f"me\nwith {CANARY}\x1b[2J is unknown"}}).encode()
    with pytest.raises(CredentialError) as caught:
        await Site(answer(status, [], body)).scheme.ready()
    assert caught.value.detail == f"the login {says} (no_user (me with *** is unknown))"


async def test_a_session_s_token_may_come_packed() -> None:
    packed = gzip.compress(b'{"data": {"access": "t"}}')
    home = Site(answer(201, [(b"Content-Encoding", b"gzip")], packed), **BY_TOKEN)
    assert values(await applied(home.scheme), "Authorization") == [b"Bearer t"]


async def test_a_redirect_is_a_login_unless_it_leads_back() -> None:
    home = answer(302, [(b"Set-Cookie", b"sid=1"), (b"Location", b"/home")])
    back = answer(302, [(b"Set-Cookie", b"sid=1"), (b"Location", b"login?failed")])
    unauthorized = {"status": [302], "redirect": "/login*"}
    await Site(home, unauthorized=unauthorized).scheme.ready()
    with pytest.raises(Refused, match="the login refused: it redirects as if there was no session"):
        await Site(back, unauthorized=unauthorized).scheme.ready()


async def test_a_wrong_password_is_not_tried_for_each_request() -> None:
    home = Site(*[401] * 100)
    bench = Bench(home.scheme)
    for _ in range(20):
        with pytest.raises(CredentialError):
            await bench()
    assert len(home.login.requests) == 1


# -- cookies ----------------------------------------------------------------------------------------------------


async def test_the_cookies_of_the_login_are_sent_beside_the_clients() -> None:
    home = Site(welcome("sid=s1; Path=/; HttpOnly; Secure", "lang=de; Path=/base", "admin=1; Path=/admin", status=302))
    bench = Bench(home.scheme)
    await bench(draft(fields=[(b"Cookie", b"theme=dark; sid=theirs"), (b"Cookie", b"a=\xfc")]))
    assert bench.sent("Cookie") == [b"theme=dark; a=\xfc; sid=s1; lang=de"]
    assert bench.sent("Authorization") == [b""]


async def test_it_logs_in_again_when_the_session_is_over() -> None:
    home = Site(welcome("sid=s1; Path=/"), welcome("sid=s2; Path=/"))
    bench = Bench(home.scheme, 200, 401, 200)
    await bench()
    client = draft(fields=[(b"Cookie", b"theme=dark")])
    assert (await bench(client)).status_code == 200
    assert bench.story.notes == ("renewed token",)
    assert bench.sent("Cookie") == [b"sid=s1", b"theme=dark; sid=s1", b"theme=dark; sid=s2"]


async def test_many_at_once_log_in_once() -> None:
    home = Site(welcome("sid=s1; Path=/"))
    sent = await asyncio.gather(*(applied(home.scheme) for _ in range(50)))
    assert {bytes(*values(each, "Cookie")) for each in sent} == {b"sid=s1"}
    assert len(home.login.requests) == 1


async def test_new_values_are_taken_over_and_no_client_sees_them() -> None:
    home = Site(welcome("sid=s1; Path=/", "csrf=c1; Path=/"), welcome("sid=s3; Path=/"))
    rolled = welcome("sid=s2; Path=/", "theme=dark; Path=/")
    bench = Bench(home.scheme, rolled, 200, welcome("csrf=; Max-Age=0; Path=/"), 200, 401, 200)
    response = await bench()
    assert response.headers.get_list("set-cookie") == ["theme=dark; Path=/"]
    await bench()
    assert "set-cookie" not in (await bench()).headers
    await bench()
    await bench()
    assert bench.sent("Cookie") == [
        b"sid=s1; csrf=c1", b"sid=s2; csrf=c1", b"sid=s2; csrf=c1", b"sid=s2", b"sid=s2", b"sid=s3",
    ]  # fmt: skip


async def test_a_late_answer_of_an_earlier_session_changes_nothing_and_shows_nothing() -> None:
    home = Site(welcome("sid=s1; Path=/"), welcome("sid=s2; Path=/"))
    late = home.scheme.async_auth_flow(request())
    asked = await anext(late)
    await Bench(home.scheme, 401, 200)()
    answered = welcome("sid=old; Path=/", "sid=odd; Domain=else.test", "theme=dark")
    with pytest.raises(StopAsyncIteration):
        await late.asend(answered)
    assert answered.headers.get_list("set-cookie") == ["theme=dark"]
    assert values(asked, "Cookie") == [b"sid=s1"]
    assert values(await applied(home.scheme), "Cookie") == [b"sid=s2"]


async def test_a_refusal_that_is_handed_on_shows_nothing_either() -> None:
    home = Site(welcome("sid=s1; Path=/"), 401)
    refused = answer(401, [(b"Set-Cookie", b"sid=canary; Path=/")])
    assert "set-cookie" not in (await Bench(home.scheme, refused)()).headers


async def test_a_session_that_the_api_ended_is_begun_anew_when_it_says_so() -> None:
    home = Site(welcome("sid=s1; Path=/"), welcome("sid=s2; Path=/"))
    bench = Bench(home.scheme, welcome("sid=; Max-Age=0; Path=/"), 401, 200)
    await bench()
    assert (await bench()).status_code == 200
    assert bench.sent("Cookie") == [b"sid=s1", b"", b"sid=s2"]


async def test_a_cookie_that_expires_is_no_longer_sent_and_the_last_one_ends_the_session() -> None:
    home = Site(welcome("a=1; Path=/; Max-Age=100", "b=1; Path=/; Max-Age=1000"), welcome("c=1; Path=/"))
    await home.scheme.ready()
    assert home.scheme.expires_at() == START + 1000
    await home.clock.advance(100)
    assert values(await applied(home.scheme), "Cookie") == [b"b=1"]
    await home.clock.advance(900)
    assert values(await applied(home.scheme), "Cookie") == [b"c=1"]
    assert home.scheme.expires_at() is None


async def test_cookies_of_another_site_are_not_sent_here() -> None:
    login = {"url": "https://login.test/", "form": {"user": "me"}}
    with pytest.raises(CredentialError, match=r"the login's cookies are not for api\.test"):
        await Bench(Site(welcome("sid=1"), login=login).scheme)()


async def test_those_of_the_whole_domain_are() -> None:
    login = {"url": "https://login.api.test/", "form": {"user": "me"}}
    bench = Bench(Site(welcome("sid=1; Domain=api.test; Path=/"), login=login).scheme)
    await bench()
    assert bench.sent("Cookie") == [b"sid=1"]


# -- a token ----------------------------------------------------------------------------------------------------


async def test_a_token_of_the_answer_is_sent() -> None:
    steps = [answer(200, [], b'{"data": {"access": "t%d", "expires_in": 90}}' % number) for number in (1, 2)]
    home = Site(*steps, **BY_TOKEN)
    bench = Bench(home.scheme, 401, 200)
    client = draft(fields=[(b"Cookie", b"theme=dark")])
    await bench(client)
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2"]
    assert bench.sent("Cookie") == [b"theme=dark"] * 2
    assert home.scheme.expires_at() == START + 90
    assert home.scheme.fields == {b"authorization"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": 7}', b'{"data": {"acess": "canary"}}', b'{"data": ["canary"]}']
)
async def test_an_answer_without_it_is_said(body: bytes) -> None:
    says = rf"the login's answer has no JSON field data\.access \(no content type, {len(body)} bytes\)"
    with pytest.raises(CredentialError, match=says) as caught:
        await Site(answer(200, [], body), **BY_TOKEN).scheme.ready()
    assert "canary" not in everything(caught.value)


async def test_one_that_is_no_token_is_said() -> None:
    says = r"the login's answer \(no content type, 27 bytes\) holds no token"
    with pytest.raises(CredentialError, match=says):
        await Site(answer(200, [], b'{"data": {"access": "a b"}}'), **BY_TOKEN).scheme.ready()


# -- the rest ---------------------------------------------------------------------------------------------------


async def test_another_user_never_meets_the_session_and_a_changed_password_does_not_end_it() -> None:
    def key(**form: str) -> Any:
        return build({**FORM, "login": {"url": LOGIN, "form": {"user": "me", "password": CANARY, **form}}})._store_key()  # type: ignore[attr-defined]  # a TokenScheme

    assert await key() == await key(password="other")
    assert await key() != await key(user="else")


def test_a_text_is_a_secret_if_it_is_named_so() -> None:
    form = {"user": "me", "remember": "1", "password": CANARY, "API-Key": "x", "otp": {"env": "OTP"}, "pw_pass": ""}
    told = parse({**FORM, "login": {"url": LOGIN, "form": form}}).secrets()
    assert [key[-1] for key, _ in told] == ["password", "API-Key", "otp"]


async def test_explaining_it_logs_nobody_in() -> None:
    home = Site()
    to = request(fields=[(b"Cookie", b"theme=dark")])
    assert await home.scheme.explain(to) == {"session": f"by POST {LOGIN}, or the store"}
    assert (values(to, "Cookie"), home.login.requests) == ([b"theme=dark; session=***"], [])


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ({"form": {"a": "b"}, "json": {}}, "has form and json; right would be one of them"),
        ({"method": "GET", "form": {"a": "b"}}, "GET has no form and no json; right would be POST"),
        ({"method": "get"}, "pattern"),
        ({"url": "http://api.test/login"}, "login.url is plain http beyond this machine"),
        ({"url": "/login"}, "pattern"),
        ({"headers": {"Host": "x"}}, "Host is set by the proxy itself"),
        ({"headers": {"a b": "x"}}, "is not the name of a header field"),
        ({"form": {"a": ["canary"]}}, "not a secret"),
        ({"json": {"a": {"env": 7}}}, "json.a is not a secret"),
        ({"json": ["canary"]}, "valid dictionary"),
        ({"from": {}}, "Extra inputs"),
    ],
)
def test_mistakes(login: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        parse({"type": "session", "login": {"url": LOGIN, **login}})
    assert "canary" not in str(caught.value)


async def test_a_field_that_no_header_can_hold_is_said() -> None:
    with pytest.raises(SecretError, match="holds what can't be in a header field"):
        await Site(login={"url": LOGIN, "headers": {"X-User": "ü"}}).scheme.ready()


class Forum:
    """A site with a form: sets a session's cookie, which lives for some requests."""

    def __init__(self) -> None:
        self.logins = 0
        self.left = 0

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/login":
            form = await request.post()
            if form.get("user") != "me" or form.get("password") != CANARY:
                return web.Response(status=302, headers={"Location": "/login?failed=1", "Set-Cookie": "sid=; Path=/"})
            self.logins += 1
            self.left = 3
            cookie = f"sid=s{self.logins}; Path=/; HttpOnly"
            return web.Response(status=302, headers={"Location": "/", "Set-Cookie": cookie})
        if request.cookies.get("sid") != f"s{self.logins}" or not self.left:
            return web.Response(status=302, headers={"Location": "/login?next=/"})
        self.left -= 1
        return web.Response(text=f"hello {request.cookies.get('theme')}")


async def test_a_site_with_a_form_over_sockets() -> None:
    forum = Forum()
    table = {**FORM, "unauthorized": {"status": [302], "redirect": "/login*"}}
    async with site(forum) as url:
        table["login"] = {**FORM["login"], "url": f"{url}/login"}
        async with at_home(table) as scheme:
            api = httpx.URL(url)
            bench = Bench(scheme)
            upstream = bench.exchange.upstream = Upstream(api, HTTP11Transport(api), Script())
            for _ in range(7):
                response = await bench(draft(b"/", fields=[(b"Cookie", b"theme=dark")]))
                assert response.status_code == 200
                assert b"".join([piece async for piece in response.stream]) == b"hello dark"  # type: ignore[union-attr]
            await upstream.aclose()
    assert forum.logins == 3
