from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy.errors import CredentialError, SecretError, TokenEndpointDown
from tests.credentials.doubles import Bench, applied, build, parse, request, values
from tests.credentials.keys import PEM, verified
from tests.credentials.sites import at_home, site
from tests.doubles import START, FakeClock, Script, answer

TABLE: dict[str, Any] = {"type": "github_app", "app_id": 123, "installation_id": 456, "key": PEM}


class GitHub:
    """What GitHub is to its apps: checks their JWT, gives tokens that live an hour."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.requests: list[web.BaseRequest] = []
        self.given = 0
        self.bodies: list[bytes] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        claims = verified(request.headers["Authorization"].removeprefix("Bearer "))
        now = self.clock.time()
        assert claims.keys() == {"iss", "iat", "exp"}
        if claims["iss"] != "123" or claims["iat"] > now or not now < claims["exp"] <= claims["iat"] + 600:
            return web.json_response({"message": "A JSON web token could not be decoded"}, status=401)
        if request.path != "/api/v3/app/installations/456/access_tokens" or request.method != "POST":
            return web.json_response({"message": "Not Found"}, status=404)
        self.given += 1
        table = {"token": f"ghs_{self.given}", "expires_at": "2027-01-15T09:00:00Z", "permissions": {"issues": "read"}}
        return web.json_response(table, status=201)


async def test_an_installations_token_is_had_and_had_again_when_it_is_refused() -> None:
    clock = FakeClock()
    github = GitHub(clock)
    async with site(github) as url, at_home({**TABLE, "api_url": f"{url}/api/v3/"}, clock) as scheme:
        sent = await asyncio.gather(*(applied(scheme) for _ in range(20)))
        assert {bytes(*values(each, "Authorization")) for each in sent} == {b"Bearer ghs_1"}
        assert scheme.expires_at() == START + 3600
        bench = Bench(scheme, 401, 200)
        assert (await bench()).status_code == 200
        assert bench.sent("Authorization") == [b"Bearer ghs_1", b"Bearer ghs_2"]
    asked = github.requests[0]
    assert asked.headers["Accept"] == "application/vnd.github+json"
    assert asked.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert github.bodies == [b"", b""]


async def test_a_clock_that_is_a_minute_ahead_does_no_harm() -> None:
    clock = FakeClock()
    ahead = FakeClock(START + 59)
    async with site(GitHub(clock)) as url, at_home({**TABLE, "api_url": f"{url}/api/v3"}, ahead) as scheme:
        await scheme.ready()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"app_id": "124"}, "GitHub refused: invalid_client"),
        ({"installation_id": 1}, "GitHub knows no such installation"),
        ({"installation_id": "../456"}, "GitHub knows no such installation"),
    ],
)
async def test_what_github_does_not_like_is_said(changes: dict[str, Any], says: str) -> None:
    clock = FakeClock()
    async with (
        site(GitHub(clock)) as url,
        at_home({**TABLE, "api_url": f"{url}/api/v3", **changes}, clock) as scheme,
    ):
        with pytest.raises(CredentialError, match=says):
            await scheme.ready()


@pytest.mark.parametrize(
    ("step", "kind", "says"),
    [
        (answer(503, [(b"Retry-After", b"5")]), TokenEndpointDown, "GitHub answered 503"),
        (
            answer(201, [], b"<html>"),
            CredentialError,
            r"GitHub answered 201 with a body that .* \(no content type, 6 bytes",
        ),
        (answer(201, [], b"{}"), CredentialError, r"GitHub's answer \(no content type, 2 bytes\) holds no token"),
        (answer(403, [], b'{"message": "suspended"}'), CredentialError, r"GitHub refused: status 403 \(suspended\)"),
        (
            answer(401, [], b'{"message": "Bad\\ncredentials"}'),
            CredentialError,
            r"GitHub refused: invalid_client \(Bad credentials\)",
        ),
        (
            answer(422, [], b'{"message": "No.", "errors": [{"code": "x"}]}'),
            CredentialError,
            r"GitHub refused: x \(No\.\)",
        ),
    ],
)
async def test_what_github_answers_otherwise(step: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        await build(TABLE, issuer=Script(step), clock=FakeClock()).ready()


async def test_github_itself_is_asked_unless_another_one_is_named() -> None:
    script = Script(answer(201, [], b'{"token": "t"}'))
    await build(TABLE, issuer=script, clock=FakeClock()).ready()
    assert str(script.requests[0].url) == "https://api.github.com/app/installations/456/access_tokens"


async def test_explaining_it_asks_nobody() -> None:
    to = request()
    told = await build(TABLE, clock=FakeClock()).explain(to)
    assert told == {"token": "from https://api.github.com for the installation, or the store"}
    assert values(to, "Authorization") == [b"Bearer ***"]


async def test_a_key_that_is_none_is_said() -> None:
    scheme = build({**TABLE, "key": "canary-9"}, clock=FakeClock())
    for step in (scheme.ready(), scheme.explain(request())):
        with pytest.raises(SecretError, match="the key is no PEM"):
            await step


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"api_url": "http://github.test"}, "right would be https, or insecure = true"),
        ({"api_url": "github.test"}, "pattern"),
        ({"app_id": True}, "not a secret"),
        ({"app_id": None}, "not a secret"),
    ],
)
def test_mistakes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parse({**TABLE, **changes})
