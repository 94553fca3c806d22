from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import httpx
import pytest
from pydantic import ValidationError

from proxy.credentials import Context, Scheme
from proxy.errors import CredentialError, SecretError, TokenEndpointDown
from proxy.stores import Token
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from tests.credentials.doubles import Bench, applied, parse, request, values
from tests.doubles import START, FakeClock, Script, answer

URL = "https://issuer.test/token"
CANARY = "canary-3c"


def table(grant: str = "client_credentials", **keys: Any) -> dict[str, Any]:
    return {"type": "oauth2", "grant": grant, "token_url": URL, "client_id": "id", "client_secret": CANARY, **keys}


def token(number: int, **more: Any) -> httpx.Response:
    return answer(200, [], json.dumps({"access_token": f"t{number}", **more}).encode())


def refusal(code: str, description: str = CANARY) -> httpx.Response:
    return answer(400, [], json.dumps({"error": code, "error_description": description}).encode())


class Issuer:
    """A scripted token endpoint, and what a scheme there needs."""

    def __init__(self, *steps: httpx.Response | Exception | int) -> None:
        self.script = Script(*steps)
        self.clock = FakeClock()
        self.store = MemoryStore()

    def build(self, settings: dict[str, Any], name: str = "api") -> Scheme:
        tokens = Tokens(self.store, self.clock, self.script)
        members: dict[str, Scheme] = {}
        return parse(settings).build(Context(name, members.__getitem__, tokens, self.clock))

    @property
    def forms(self) -> list[list[tuple[str, str]]]:
        return [parse_qsl(content.decode(), keep_blank_values=True) for content in self.script.bodies]

    def form(self) -> dict[str, str]:
        (form,) = self.forms
        return dict(form)


# -- the token request ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        (table(), {"grant_type": "client_credentials"}),
        (table("refresh_token", refresh_token="r+/="), {"grant_type": "refresh_token", "refresh_token": "r+/="}),
        (table("password", username="u ä", password="p&="),
         {"grant_type": "password", "username": "u ä", "password": "p&="}),
        (table(scope="read write"), {"grant_type": "client_credentials", "scope": "read write"}),
        (table(scope="read,write:all"), {"grant_type": "client_credentials", "scope": "read,write:all"}),
        (table(scope=["read", "write"]), {"grant_type": "client_credentials", "scope": "read write"}),
        (table(audience="https://api"), {"grant_type": "client_credentials", "audience": "https://api"}),
        (table(resource="https://a"), {"grant_type": "client_credentials", "resource": "https://a"}),
        (table(extra={"tenant": "x"}), {"grant_type": "client_credentials", "tenant": "x"}),
    ],
)  # fmt: skip
async def test_what_is_asked_for(settings: dict[str, Any], form: dict[str, str]) -> None:
    issuer = Issuer(token(1))
    sent = await applied(issuer.build(settings))
    assert values(sent, "Authorization") == [b"Bearer t1"]
    assert issuer.form() == form


async def test_there_may_be_several_resources() -> None:
    issuer = Issuer(token(1))
    await applied(issuer.build(table(resource=["https://a", "https://b"])))
    assert [value for name, value in issuer.forms[0] if name == "resource"] == ["https://a", "https://b"]


async def test_a_client_says_who_it_is_by_basic_form_encoded() -> None:
    issuer = Issuer(token(1))
    await applied(issuer.build(table(client_id="id:ä", client_secret="s e+c%")))
    value = issuer.script.requests[0].headers["authorization"]
    assert b64decode(value.removeprefix("Basic ")).decode("ascii") == "id%3A%C3%A4:s+e%2Bc%25"
    assert unquote_plus("s+e%2Bc%25") == "s e+c%"
    assert issuer.form().keys() == {"grant_type"}


async def test_or_in_the_form() -> None:
    issuer = Issuer(token(1))
    await applied(issuer.build(table(client_auth="post")))
    assert issuer.form() == {"grant_type": "client_credentials", "client_id": "id", "client_secret": CANARY}
    assert "authorization" not in issuer.script.requests[0].headers


async def test_or_a_public_one_by_its_name_alone() -> None:
    issuer = Issuer(token(1))
    settings = table("refresh_token", refresh_token="r", client_auth="none")
    del settings["client_secret"]
    await applied(issuer.build(settings))
    assert issuer.form() == {"grant_type": "refresh_token", "refresh_token": "r", "client_id": "id"}
    assert "authorization" not in issuer.script.requests[0].headers


# -- renewal ----------------------------------------------------------------------------------------------------


async def test_a_refused_token_is_renewed_and_the_request_replayed() -> None:
    issuer = Issuer(token(1), token(2))
    bench = Bench(issuer.build(table()), 401, 200, 200)
    assert (await bench()).status_code == 200
    assert (bench.story.notes, bench.story.replays, bench.story.attempts) == (("renewed token",), 1, 1)
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2", b"Bearer t2"]


class Refusing(Script):
    """An API that takes no token but one, whenever it is asked."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        return answer(200 if request.headers["authorization"] == "Bearer t2" else 401)


async def test_a_hundred_refused_at_once_cost_one_renewal() -> None:
    issuer = Issuer(token(1), token(2))
    bench = Bench(issuer.build(table()))
    bench.api = bench.exchange.upstream._transport = Refusing()
    responses = await asyncio.gather(*(bench() for _ in range(100)))
    assert {response.status_code for response in responses} == {200}
    assert len(issuer.script.requests) == 2


async def test_a_second_401_is_handed_on() -> None:
    issuer = Issuer(token(1), token(2))
    bench = Bench(issuer.build(table()), 401, answer(401, [], b"still no"))
    response = await bench()
    assert (response.status_code, len(issuer.script.requests)) == (401, 2)
    assert b"".join([piece async for piece in response.stream]) == b"still no"  # type: ignore[union-attr]


async def test_a_renewal_that_fails_leaves_the_401() -> None:
    issuer = Issuer(token(1), refusal("invalid_client"))
    bench = Bench(issuer.build(table()), answer(401, [], b"no"))
    response = await bench()
    assert (response.status_code, bench.story.error) == (401, "proxy_configuration_error")
    assert bench.story.failure == "renewal failed: the token endpoint refused: invalid_client"
    assert b"".join([piece async for piece in response.stream]) == b"no"  # type: ignore[union-attr]


async def test_without_a_token_nothing_is_sent() -> None:
    for step, kind in ((refusal("invalid_client"), CredentialError), (429, TokenEndpointDown)):
        bench = Bench(Issuer(step).build(table()))
        with pytest.raises(kind) as caught:
            await bench()
        assert bench.api.requests == []
        assert CANARY not in str(caught.value)


async def test_the_rotated_refresh_token_is_the_one_that_is_used() -> None:
    issuer = Issuer(token(1, refresh_token="r1"), token(2, refresh_token="r2"), token(3))
    scheme = issuer.build(table("refresh_token", refresh_token="r0"))
    bench = Bench(scheme, 401, 200, 401, 200)
    await bench()
    await bench()
    assert [dict(form)["refresh_token"] for form in issuer.forms] == ["r0", "r1", "r2"]


async def test_one_that_was_refused_a_moment_ago_is_not_sent_again() -> None:
    issuer = Issuer(token(1), refusal("invalid_grant", "too old"), refusal("invalid_grant"), token(2))
    scheme = issuer.build(table("refresh_token", refresh_token="r0"))
    bench = Bench(scheme, 401, 200)
    await bench()
    assert "refused: invalid_grant (too old); login needed" in bench.story.failure
    assert [dict(form)["refresh_token"] for form in issuer.forms] == ["r0", "r0"]
    await issuer.clock.advance(1)
    with pytest.raises(CredentialError):
        await bench()
    assert len(issuer.forms) == 3, "after a pause it may be good again, once a pause"
    await issuer.clock.advance(2)
    assert (await bench()).status_code == 200


async def test_whether_a_server_wants_the_scope_is_known_after_a_restart() -> None:
    steps = [refusal("invalid_scope"), token(2, refresh_token="r2"), token(3, refresh_token="r3"), token(4)]
    issuer = Issuer(token(1, refresh_token="r1"), *steps)
    for start in range(3):
        scheme = issuer.build(table("password", username="u", password="p", scope="a"))
        bench = Bench(scheme, *[401] * (start < 3), 200)
        assert (await bench()).status_code == 200
        await scheme.aclose()
    told = [(form["grant_type"], form.get("refresh_token"), form.get("scope")) for form in map(dict, issuer.forms)]
    assert told == [
        ("password", None, "a"), ("refresh_token", "r1", None), ("refresh_token", "r1", "a"),
        ("refresh_token", "r2", "a"), ("refresh_token", "r3", "a"),
    ]  # fmt: skip


async def test_a_dead_one_of_the_store_gives_way_to_the_configured_one() -> None:
    issuer = Issuer(token(1, refresh_token="r1"), refusal("invalid_grant"), token(2))
    scheme = issuer.build(table("refresh_token", refresh_token="r0"))
    await Bench(scheme, 401, 200)()
    assert [dict(form)["refresh_token"] for form in issuer.forms] == ["r0", "r1", "r0"]


async def test_a_password_is_asked_only_when_there_is_no_refresh_token() -> None:
    issuer = Issuer(token(1, refresh_token="r1"), refusal("invalid_grant"), token(2))
    await Bench(issuer.build(table("password", username="u", password="p")), 401, 200)()
    assert [dict(form)["grant_type"] for form in issuer.forms] == ["password", "refresh_token", "password"]


async def test_a_user_has_to_log_in_again_when_the_refresh_token_has_died() -> None:
    issuer = Issuer(refusal("invalid_grant", f"revoked by {CANARY} today"))
    scheme = issuer.build(table("authorization_code", authorization_url=URL))
    assert scheme.login is not None
    await scheme.login.keep(Token("t1", None, "r1"))
    bench = Bench(scheme, 401)
    assert (await bench()).status_code == 401
    said = "login needed: countersign login api (the token endpoint refused: invalid_grant (revoked by *** today))"
    assert bench.story.failure == f"renewal failed: {said}"
    for _ in range(3):
        with pytest.raises(CredentialError) as caught:
            await bench()
        assert caught.value.detail == said
    assert len(issuer.forms) == 1, "a dead refresh token is asked with once"
    await scheme.login.keep(Token("t2", None, "r2"))
    assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2"]


@pytest.mark.parametrize("grant", ["authorization_code", "device_code", "refresh_token"])
def test_what_a_user_grants_can_be_logged_in_to(grant: str) -> None:
    keys = {"authorization_url": URL, "device_authorization_url": URL, "refresh_token": "r"}
    assert Issuer().build(table(grant, **keys)).login is not None


def test_what_no_user_grants_can_not() -> None:
    assert Issuer().build(table()).login is None


# -- the store --------------------------------------------------------------------------------------------------


async def test_a_stored_token_serves_after_a_start() -> None:
    issuer = Issuer(token(1))
    await applied(issuer.build(table()))
    sent = await applied(issuer.build(table()))
    assert (values(sent, "Authorization"), len(issuer.forms)) == ([b"Bearer t1"], 1)


OTHERS: list[dict[str, Any]] = [
    {"scope": "x"}, {"audience": "x"}, {"resource": "x"}, {"extra": {"x": "x"}}, {"client_id": "x"},
    {"token_url": "https://other.test/"}, {"grant": "password", "username": "x", "password": "x"},
    {"grant": "refresh_token", "refresh_token": "x"}, {"grant": "refresh_token", "refresh_token": "y"},
    {"grant": "password", "username": "y", "password": "x"},
]  # fmt: skip


async def test_another_configuration_never_meets_its_token() -> None:
    issuer = Issuer(*(token(number) for number in range(20)))
    for keys in [{}, *OTHERS]:
        await applied(issuer.build({**table(), **keys}))
    await applied(issuer.build(table(), name="other"))
    names = await issuer.store.names()
    assert len(names) == len(OTHERS) + 2
    assert all(name.startswith(("api-", "other-")) and len(name.partition("-")[2]) == 12 for name in names)


async def test_a_changed_secret_does_not_cost_the_token() -> None:
    issuer = Issuer(token(1))
    await applied(issuer.build(table()))
    await applied(issuer.build(table(client_secret="new", client_auth="post")))
    assert len(issuer.forms) == 1


async def test_its_expiry_is_told() -> None:
    issuer = Issuer(token(1, expires_in=60))
    scheme = issuer.build(table())
    assert scheme.expires_at() is None
    await scheme.ready()
    assert scheme.expires_at() == START + 60
    await scheme.aclose()


# -- secrets and mistakes -----------------------------------------------------------------------------------------


async def test_a_changed_client_secret_is_used_for_the_next_token(tmp_path: Path) -> None:
    tmp_path.joinpath("s").write_text("one")
    issuer = Issuer(token(1), token(2))
    bench = Bench(issuer.build(table(client_secret={"file": str(tmp_path / "s")}, client_auth="post")), 401, 200)
    await bench.exchange._auth.ready()  # type: ignore[attr-defined]  # a Scheme
    tmp_path.joinpath("s").write_text("another")
    await bench()
    assert [dict(form)["client_secret"] for form in issuer.forms] == ["one", "another"]


async def test_a_secret_that_is_missing_is_named_and_nothing_is_asked() -> None:
    issuer = Issuer(token(1))
    for key in ("client_id", "client_secret"):
        with pytest.raises(SecretError, match="NOT_SET is not set"):
            await issuer.build({**table(), key: {"env": "NOT_SET"}}).ready()
    assert issuer.forms == []


async def test_explaining_it_fetches_nothing_and_hides_what_may_be_in_the_url() -> None:
    issuer = Issuer()
    to = request()
    told = await issuer.build(table(token_url=f"{URL}?key={CANARY}")).explain(to)
    assert told == {"token": f"from {URL} by client_credentials, or the store"}
    assert (values(to, "Authorization"), issuer.forms) == ([b"Bearer ***"], [])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"client_secret": None}, 'also needs client_secret; a public client has client_auth = "none"'),
        ({"client_id": None}, "also needs client_id"),
        ({"client_auth": "private_key_jwt"}, "also needs key"),
        ({"client_auth": "client_secret_jwt", "client_secret": None}, "also needs client_secret"),
        ({"client_auth": "client_secret_jwt", "algorithm": "ES256"}, "right would be HS256, HS384 or HS512"),
        ({"client_auth": "tls"}, "also needs tls = { cert = …, key = … }"),
        ({"client_auth": "none", "client_id": None}, "also needs client_id"),
        ({"token_url": None}, "also needs issuer or token_url"),
        ({"grant": "authorization_code", "token_url": None}, "also needs issuer or authorization_url and token_url"),
        ({"grant": "device_code"}, "also needs issuer or device_authorization_url"),
        ({"grant": "jwt_bearer"}, "also needs key"),
        ({"grant": "token_exchange"}, "also needs subject_token"),
        ({"issuer": "https://issuer.test/?a"}, "issuer has a query"),
        ({"grant": "password"}, "also needs username, password"),
        ({"grant": "refresh_token"}, "also needs refresh_token"),
        ({"grant": "implicit"}, "client_credentials"),
        ({"token_url": "http://issuer.test/"}, "right would be https, or insecure = true"),
        ({"token_url": "https://user:pass@issuer.test/"}, "right would be client_id and client_secret"),
        ({"token_url": "https://issuer.test:99999/"}, "has a port that there is not"),
        ({"token_url": "https://[::1/"}, "is not a URL"),
        ({"token_url": "ftp://issuer.test/"}, "pattern"),
        ({"token_url": "https://issuer.test/#x"}, "pattern"),
        ({"client_auth": "magic"}, "basic"),
    ],
)  # fmt: skip
def test_mistakes_are_said_with_what_would_be_right(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        parse({**table(), **keys})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "keys", [{"token_url": "http://127.0.0.1:1/t"}, {"token_url": "http://[::1]:1/t"}, {"token_url": "http://localhost/t"},
             {"token_url": "http://issuer.test/", "insecure": True}, {"token_url": None, "issuer": "https://issuer.test"},
             {"client_auth": "client_secret_jwt", "algorithm": "HS512"},
             {"client_auth": "client_secret_jwt", "algorithm": "ES256", "grant": "jwt_bearer", "key": "k"},
             {"grant": "token_exchange", "subject_token": "s", "client_auth": "none", "client_id": None}],
)  # fmt: skip
def test_these_are_none(keys: dict[str, Any]) -> None:
    parse({**table(), **keys})


async def test_a_token_adopted_from_the_store_is_renewed_when_refused() -> None:
    issuer = Issuer(token(1))
    scheme = issuer.build(table())
    key = await scheme._store_key()  # type: ignore[attr-defined]  # an OAuth2Scheme
    await issuer.store.save(key, Token("stored", None))
    bench = Bench(scheme, 401, 200)
    await bench()
    assert bench.sent("Authorization") == [b"Bearer stored", b"Bearer t1"]
