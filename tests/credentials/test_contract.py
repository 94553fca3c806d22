"""What every type of credential does. A type brings nothing but entries in `CASES`."""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import subprocess
import sys
import tempfile
import typing
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from proxy import plugins
from proxy.credentials import Credential, Scheme
from proxy.errors import CredentialError, ProxyError, SecretError
from proxy.secrets import Source
from tests.credentials.doubles import (
    Bench,
    answer_401,
    applied,
    build,
    everything,
    parse,
    request,
    target,
    values,
    written,
)
from tests.credentials.keys import PEM, key_file
from tests.doubles import Script, answer
from tests.tokens.doubles import private_jwk

SECRET = "canary-9b2d"
TOKEN = "canary-token"


class Header(httpx.Auth):
    """A third party's."""

    def __init__(self, token: str, name: str = "Authorization") -> None:
        self._token = token
        self._name = name

    def auth_flow(self, request: httpx.Request) -> typing.Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._token
        yield request


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        table: with `SECRET` in every secret.
        places: the fields that it sets; "?NAME" is a parameter.
        challenge: what it needs in a 401 before it shows anything.
        renews: whether it has a second try.
        turns: whether two requests differ.

    """

    table: dict[str, Any]
    places: tuple[str, ...] = ("Authorization",)
    challenge: str = ""
    renews: bool = False
    turns: bool = False


def oauth2(grant: str, **keys: Any) -> Case:
    table = {"type": "oauth2", "grant": grant, "token_url": "https://issuer.test/token", "client_id": "id",
             "client_secret": SECRET, **keys}  # fmt: skip
    return Case(table, renews=True)


def api_key(place: str, at: str, **keys: Any) -> Case:
    return Case({"type": "api_key", "in": place, "name": "api_key", "value": SECRET, **keys}, (at,))


FOLDER = Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER)


def netrc_file() -> Path:
    file = FOLDER / "netrc"
    file.write_text(f"machine api.test login user password {SECRET}\n")
    return file


LOGIN = {"url": "https://api.test/login", "form": {"user": "me", "password": SECRET}}
HMAC = {"type": "hmac", "secret": SECRET, "string_to_sign": "{secret}{target}{timestamp}"}
CASES: dict[str, Case] = {
    "none": Case({"type": "none"}, ()),
    "basic": Case({"type": "basic", "username": "user", "password": SECRET}),
    "digest": Case(
        {"type": "digest", "username": "user", "password": SECRET},
        challenge='Digest realm="r", nonce="n", qop="auth"',
        renews=True,
    ),
    "bearer": Case({"type": "bearer", "token": SECRET}),
    "api_key header": api_key("header", "api_key"),
    "api_key header prefix": api_key("header", "api_key", prefix="Key "),
    "api_key header words": Case(
        {"type": "api_key", "name": "X-Key", "value": f"{SECRET} with words"}, ("X-Key",)
    ),
    "api_key query": api_key("query", "?api_key"),
    "api_key cookie": api_key("cookie", "Cookie"),
    "hmac header": Case({**HMAC, "headers": {"X-Signature": "{signature}", "X-Time": "{timestamp}"}},
                        ("X-Signature", "X-Time")),
    "hmac query": Case({**HMAC, "query": {"sign": "{signature}", "ts": "{timestamp}"}}, ("?sign", "?ts")),
    "hmac digest": Case({**HMAC, "algorithm": "digest:sha256", "headers": {"X-Signature": "{signature}"}},
                        ("X-Signature",)),
    "oauth2 client_credentials": oauth2("client_credentials"),
    "oauth2 refresh_token": oauth2("refresh_token", refresh_token=SECRET),
    "oauth2 dpop": replace(
        oauth2("client_credentials", dpop=True), places=("Authorization", "DPoP"), turns=True
    ),
    "oauth2 token_exchange": oauth2("token_exchange", subject_token=SECRET),
    "oauth2 jwt_bearer": oauth2("jwt_bearer", key=private_jwk(), client_auth="client_secret_jwt"),
    "oauth2 password": oauth2("password", username="user", password=SECRET, client_auth="post"),
    "fallback": Case({"type": "fallback", "credentials": ["first", "second"]}, renews=True),
    "all": Case({"type": "all", "credentials": ["first", "X-header", "X-query"]},
                ("Authorization", "X-header", "?X-query")),
    "all that renew": Case({"type": "all", "credentials": ["exec", "X-header"]}, ("Authorization", "X-header"),
                           renews=True),
    "jwt": Case({"type": "jwt", "key": SECRET}, renews=True, turns=True),
    "github_app": Case(
        {"type": "github_app", "app_id": 1, "installation_id": 2, "key": f"{SECRET}\n{PEM}"}, renews=True
    ),
    "google_service_account": Case(
        {"type": "google_service_account", "key_file": str(key_file(FOLDER)), "scope": "read"}, renews=True
    ),
    "exec": Case({"type": "exec", "command": ["echo", TOKEN]}, renews=True),
    "session": Case({"type": "session", "login": LOGIN}, ("Cookie",), renews=True),
    "session token": Case({"type": "session", "login": LOGIN, "token": "access_token"}, renews=True),
    "netrc": Case({"type": "netrc", "file": str(netrc_file())}),
    "rotate": Case({"type": "rotate", "credentials": ["first", "second"]}, renews=True, turns=True),
    "python": Case({"type": "python", "class": f"{__name__}:Header", "token": SECRET}),
    "python other field": Case({"type": "python", "class": f"{__name__}:Header", "token": SECRET, "name": "X-Key"},
                               ("X-Key",)),
}  # fmt: skip
NEEDY = [name for name, case in CASES.items() if SECRET in str(case.table)]


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def issuer(count: int = 5, kind: str = "Bearer") -> Script:
    tokens = [json.dumps({"access_token": f"{TOKEN}-{number}", "token_type": kind}).encode() for number in range(count)]
    cookies = [(b"Set-Cookie", f"api_key={TOKEN}; Path=/".encode())]
    return Script(*(answer(200, cookies, token) for token in tokens))


def members() -> dict[str, Scheme]:
    bearers = {name: build({"type": "bearer", "token": f"{SECRET}-{name}"}) for name in ("first", "second")}
    keys = {f"X-{place}": build({"type": "api_key", "in": place, "name": f"X-{place}", "value": SECRET})
            for place in ("header", "query")}  # fmt: skip
    return {**bearers, **keys, "exec": made({"type": "exec", "command": ["echo", TOKEN]}, {})}


@pytest.fixture
def scheme(case: Case) -> Scheme:
    return made(case.table)


def made(table: dict[str, Any], others: dict[str, Scheme] | None = None) -> Scheme:
    others = members() if others is None else others
    return build(table, issuer=issuer(kind="DPoP" if table.get("dpop") else "Bearer"), others=others)


async def shown(case: Case, scheme: Scheme, to: httpx.Request) -> httpx.Request:
    """The request that carries the credential."""
    if not case.challenge:
        return await applied(scheme, to)
    flow: AsyncGenerator[httpx.Request, httpx.Response] = scheme.async_auth_flow(to)
    first = await anext(flow)
    second = await flow.asend(answer_401(first, case.challenge))
    await flow.aclose()
    return second


def test_every_type_is_here() -> None:
    types = {typing.get_args(member.model_fields["type"].annotation)[0]
             for member in plugins.members("proxy.credentials", Credential)}  # fmt: skip
    assert types == {case.table["type"] for case in CASES.values()}
    for member in plugins.members("proxy.credentials", Credential):
        assert member.__module__ == f"proxy.credentials.{parse_type(member)}"


def test_a_configuration_imports_the_types_that_it_uses_and_no_other() -> None:
    program = (
        "import sys, pydantic, proxy.credentials as family; prefix = family.__name__ + '.'\n"
        "pydantic.TypeAdapter(family.CredentialTable).validate_python({'type': 'bearer', 'token': 'canary-x'})\n"
        "print(*(name for name in sys.modules if name.startswith(prefix) and '._' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["proxy.credentials.bearer"]


def parse_type(member: type[Credential]) -> str:
    name: str = typing.get_args(member.model_fields["type"].annotation)[0]
    return name


# -- what is shown ----------------------------------------------------------------------------------------------


def test_nothing_of_its_configuration_shows_a_secret(case: Case) -> None:
    credential = parse(case.table)
    text = f"{credential!r} {credential} {credential.model_dump()} {credential.model_dump_json()}"
    text += f" {credential.model_dump(by_alias=True)} {list(credential.secrets())} {credential.model_copy()!r}"
    assert SECRET not in text


async def test_nothing_of_its_scheme_shows_a_secret(case: Case, scheme: Scheme) -> None:
    await shown(case, scheme, request())
    assert "canary" not in f"{scheme!r} {scheme}"


@pytest.mark.parametrize(
    "mistake", [{"typo": SECRET}, {"username": [SECRET], "name": [SECRET], "scope": {"a": SECRET}, "credentials": 7}]
)
def test_no_mistake_in_it_repeats_a_secret(case: Case, mistake: dict[str, Any]) -> None:
    try:
        parse({**case.table, **mistake})
    except ValidationError as failure:
        assert SECRET not in str(failure)  # noqa: PT017  # python takes any keys that its class does


async def test_explaining_it_shows_no_secret_and_sends_nothing(case: Case, scheme: Scheme) -> None:
    to = request(fields=[(b"X-Other", b"kept")])
    told = await scheme.explain(to)
    assert "canary" not in f"{told} {written(to)!r}"
    assert values(to, "X-Other") == [b"kept"]


# -- what is sent -----------------------------------------------------------------------------------------------


async def test_it_takes_the_place_of_what_the_client_sent(case: Case, scheme: Scheme) -> None:
    fields = [(place.encode(), b"theirs") for place in case.places if place[0] != "?"]
    fields = [(name, b"api_key=theirs" if name == b"Cookie" else value) for name, value in fields for _ in range(2)]
    query = "&".join(f"{place[1:]}=theirs" for place in case.places if place[0] == "?")
    sent = await shown(case, scheme, request(f"/base/x?{query}&a=1".encode(), fields=fields))
    assert b"theirs" not in written(sent)
    for place in case.places:
        if place[0] == "?":
            assert target(sent).count(f"{place[1:]}=".encode()) == 1
        else:
            assert len(values(sent, place)) == 1
            assert place == "Cookie" or place.lower().encode() in scheme.fields or case.table["type"] == "python"


AWKWARD = b'/base/a%2Fb%2f/%7Eu/(x)|"<{/;p=1?b=%2B+%20&&a;c=%zz&a=1&=&?/:@%'


async def test_the_rest_of_the_request_stays_byte_for_byte(case: Case, scheme: Scheme) -> None:
    fields = [(b"X-Ml", b"\xfc\xff"), (b"x-ml", b"\xc3\xa4 "), (b"Cookie", b"c=\xfc;d= 1"), (b"Accept", b"*/*")]
    sent = await shown(case, scheme, request(AWKWARD, fields=fields))
    assert target(sent).startswith(AWKWARD)
    if not any(place[0] == "?" for place in case.places):
        assert target(sent) == AWKWARD
    left = [field for field in sent.headers.raw if field[0].decode() not in case.places]
    assert [(b"Host", b"api.test"), *(field for field in fields if field[0].decode() not in case.places)] == left


async def test_it_is_the_same_for_two_requests_and_they_share_nothing(case: Case) -> None:
    scheme, other = made(case.table), made(case.table)
    first, second = request(), request()
    await shown(case, scheme, first)
    before = written(first)
    second = await shown(case, scheme, second)
    assert written(first) == before
    alone = await shown(case, other, request())
    if not case.challenge and not case.turns:  # which counts
        assert written(second) == written(alone)
    assert target(second).startswith(b"/base/x?a=1")


async def test_two_flows_at_once_do_not_meet(case: Case, scheme: Scheme) -> None:
    sent = await asyncio.gather(*(shown(case, scheme, request(f"/base/{n}".encode())) for n in range(20)))
    assert [target(each).partition(b"?")[0] for each in sent] == [f"/base/{n}".encode() for n in range(20)]
    for place in case.places:
        assert all(place[0] == "?" or len(values(each, place)) == 1 for each in sent)


# -- renewal ----------------------------------------------------------------------------------------------------


async def test_it_tries_at_most_once_more(case: Case, scheme: Scheme) -> None:
    flow = scheme.async_auth_flow(request())
    sent = await anext(flow)
    for _ in range(1 if case.renews else 0):
        sent = await flow.asend(answer_401(sent, case.challenge))
    with pytest.raises(StopAsyncIteration):
        await flow.asend(answer_401(sent, case.challenge))


@pytest.mark.parametrize("status", [200, 403, 500])
async def test_other_answers_are_handed_on(case: Case, scheme: Scheme, status: int) -> None:
    flow = scheme.async_auth_flow(request())
    sent = await anext(flow)
    with pytest.raises(StopAsyncIteration):
        await flow.asend(httpx.Response(status, request=sent, stream=answer(status).stream))


async def test_through_an_exchange_the_last_401_is_handed_on(case: Case, scheme: Scheme) -> None:
    headers = [(b"WWW-Authenticate", case.challenge.encode())] if case.challenge else []
    bench = Bench(scheme, *(answer(401, headers, b"no") for _ in range(5)))
    response = await bench()
    assert (response.status_code, len(bench.api.requests)) == (401, 2 if case.renews else 1)
    await response.aclose()


# -- secrets that are missing -----------------------------------------------------------------------------------


def replaced(value: Any, secret: Any) -> Any:
    if isinstance(value, dict):
        return {key: replaced(each, secret) for key, each in value.items()}
    return secret if isinstance(value, str) and SECRET in value else value


def without(table: dict[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = replaced(table, {"env": "NOT_SET_ANYWHERE"})
    return changed


@pytest.mark.parametrize("name", NEEDY)
async def test_a_secret_that_can_not_be_had_is_named_by_its_source(name: str) -> None:
    scheme = made(without(CASES[name].table))
    for step in (scheme.ready(), scheme.explain(request()), applied(scheme)):
        with pytest.raises((SecretError, CredentialError), match="the environment variable NOT_SET_ANYWHERE"):
            await step
    with pytest.raises(CredentialError, match="the environment variable NOT_SET_ANYWHERE"):
        await Bench(scheme)()


# A text in a stranger's table is no secret that we know of, and what is signed with stands in no field.
@pytest.mark.parametrize("name", [name for name in NEEDY if not name.startswith(("python", "jwt"))])
@pytest.mark.parametrize("breaks", ["\r\nX-Injected: 1", "\n", "\r", "\x01"])
async def test_a_secret_that_would_break_a_field_is_not_sent(
    name: str, breaks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", f"{SECRET}{breaks}x")
    bench = Bench(made(replaced(CASES[name].table, {"env": "BROKEN"})))
    with pytest.raises(ProxyError) as caught:
        await bench()
    assert SECRET not in everything(caught.value)
    assert bench.api.requests == []


@pytest.mark.parametrize("name", [name for name in NEEDY if not name.startswith("python")])
def test_one_that_stands_in_the_configuration_is_refused_with_it(name: str) -> None:
    with pytest.raises(ValueError, match="control character") as caught:
        parse(replaced(CASES[name].table, f"{SECRET}\0x"))
    assert SECRET not in "".join(error["msg"] for error in getattr(caught.value, "errors", list)())


async def test_it_is_ready_when_its_secrets_are_there(case: Case, scheme: Scheme) -> None:
    await scheme.ready()
    await scheme.aclose()


def test_its_secrets_are_told_with_their_keys(case: Case) -> None:
    table = without(case.table)
    told = dict(parse(table).secrets())
    assert all(isinstance(source, Source) for source in told.values())
    assert {key for key, value in table.items() if isinstance(value, dict) and "env" in value} <= told.keys()


def test_others_that_it_needs_are_told(case: Case) -> None:
    assert parse(case.table).named() == tuple(case.table.get("credentials", ()))


def test_what_it_does_not_know_is_an_error(case: Case) -> None:
    with pytest.raises(ValidationError):
        parse({**case.table, "no_such_key": "x"})
