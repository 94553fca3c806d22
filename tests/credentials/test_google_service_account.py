from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
import pytest
from aiohttp import web
from pydantic import ValidationError

from proxy.credentials import Scheme
from proxy.errors import CredentialError, SecretError
from tests.credentials.doubles import Bench, applied, build, everything, parse, request, values
from tests.credentials.keys import EMAIL, RSA, key_file, verified
from tests.credentials.sites import at_home, site
from tests.doubles import START, FakeClock, Script, answer

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"


class Google:
    """Google's token endpoint: checks who asks and what for."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        form = dict(await request.post())
        assert form.keys() == {"grant_type", "assertion"}
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assertion = str(form["assertion"])
        assert jwt.get_unverified_header(assertion)["kid"] == "k1"
        claims = verified(assertion, f"{self.url}/token")
        if claims["iss"] != EMAIL or claims["exp"] - claims["iat"] > 3600:
            said = f"{claims['iss']} is unknown: {assertion}"
            return web.json_response({"error": "invalid_grant", "error_description": said}, status=400)
        self.asked.append(claims)
        if "target_audience" in claims:
            made = {"aud": claims["target_audience"], "exp": START + 3600, "n": len(self.asked)}
            return web.json_response({"id_token": jwt.encode(made, RSA, "RS256")})
        table = {"access_token": f"ya29.{len(self.asked)}", "expires_in": 3599, "token_type": "Bearer"}
        return web.json_response(table)


@pytest.mark.parametrize("scope", [f"{SCOPE} openid", [SCOPE, "openid"]])
async def test_an_access_token_is_had_and_had_again_when_it_is_refused(scope: Any, tmp_path: Path) -> None:
    google = Google()
    async with site(google) as google.url:
        file = key_file(tmp_path, f"{google.url}/token")
        table = {"type": "google_service_account", "key_file": str(file), "scope": scope}
        async with at_home(table) as scheme:
            bench = Bench(scheme, 401, 200)
            assert (await bench()).status_code == 200
            assert bench.sent("Authorization") == [b"Bearer ya29.1", b"Bearer ya29.2"]
            assert scheme.expires_at() == START + 3599
    assert [claims["scope"] for claims in google.asked] == [f"{SCOPE} openid"] * 2
    assert "target_audience" not in google.asked[0]


async def test_an_id_token_is_for_its_audience(tmp_path: Path) -> None:
    google = Google()
    async with site(google) as google.url:
        file = key_file(tmp_path, f"{google.url}/token")
        table = {"type": "google_service_account", "key_file": str(file), "audience": "https://run.test"}
        async with at_home(table) as scheme:
            sent = (await applied(scheme)).headers["authorization"].removeprefix("Bearer ")
            assert verified(sent, "https://run.test")["n"] == 1
            assert scheme.expires_at() == START + 3600
    assert "scope" not in google.asked[0]


async def test_what_google_does_not_like_is_said(tmp_path: Path) -> None:
    google = Google()
    async with site(google) as google.url:
        file = key_file(tmp_path, f"{google.url}/token", client_email="else@project")
        async with at_home({"type": "google_service_account", "key_file": str(file), "scope": SCOPE}) as scheme:
            with pytest.raises(CredentialError) as caught:
                await scheme.ready()
            said = "invalid_grant (else@project is unknown: ***); login needed"
            assert caught.value.detail == f"the token endpoint refused: {said}"


def made(file: Path, *steps: Any, **keys: Any) -> Scheme:
    table = {"type": "google_service_account", "key_file": str(file), **(keys or {"scope": SCOPE})}
    return build(table, issuer=Script(*steps), clock=FakeClock())


async def test_an_answer_without_an_id_token_is_none(tmp_path: Path) -> None:
    scheme = made(key_file(tmp_path), answer(200, [], b'{"access_token": "t"}'), audience="x")
    with pytest.raises(
        CredentialError, match=r"the token endpoint's answer \(no content type, 21 bytes\) holds no JWT"
    ):
        await scheme.ready()


async def test_a_key_file_may_say_no_more_than_it_must(tmp_path: Path) -> None:
    script = Script(answer(200, [], b'{"access_token": "t"}'))
    file = key_file(tmp_path, token_url="", private_key_id=None)
    table = {"type": "google_service_account", "key_file": str(file), "scope": SCOPE}
    await build(table, issuer=script, clock=FakeClock()).ready()
    assert str(script.requests[0].url) == "https://oauth2.googleapis.com/token"
    assert "kid" not in jwt.get_unverified_header(dict(parse_qsl(script.bodies[0].decode()))["assertion"])


async def test_a_changed_key_file_is_read_again(tmp_path: Path) -> None:
    file = key_file(tmp_path)
    token = answer(200, [], b'{"access_token": "t"}')
    scheme = made(file, token)
    file.write_text("")
    with pytest.raises(SecretError, match="is empty"):
        await scheme.ready()
    key_file(tmp_path)
    await scheme.ready()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"client_email": None}, "is no service account's key; right would be the JSON file"),
        ({"private_key": ""}, "is no service account's key"),
        ({"private_key": "canary"}, "the key is no PEM"),
        ({"token_url": "http://google.test/token"}, "its token_uri is plain http beyond this machine"),
        ({"token_url": "oauth2"}, "its token_uri is not a URL"),
    ],
)
async def test_a_file_that_is_none_is_said(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    scheme = made(
        key_file(tmp_path, **changes) if "token_uri" not in changes else key_file(tmp_path, changes["token_uri"])
    )
    for step in (scheme.ready(), scheme.explain(request())):
        with pytest.raises(SecretError, match=says) as caught:
            await step
        assert "canary" not in everything(caught.value)


@pytest.mark.parametrize("text", ["canary", "[]", "{", '"canary"'])
async def test_so_is_one_that_is_something_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with pytest.raises(SecretError, match="is no service account's key") as caught:
        await made(tmp_path / "x").ready()
    assert "canary" not in everything(caught.value)


async def test_one_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="can't be read: No such file"):
        await made(tmp_path / "x").ready()


async def test_explaining_it_asks_nobody(tmp_path: Path) -> None:
    to = request()
    told = await made(key_file(tmp_path)).explain(to)
    assert told == {"token": f"from https://issuer.test/token for {EMAIL}, or the store"}
    assert values(to, "Authorization") == [b"Bearer ***"]


@pytest.mark.parametrize("keys", [{}, {"scope": SCOPE, "audience": "x"}])
def test_it_is_either_scope_or_audience(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="right would be either scope"):
        parse({"type": "google_service_account", "key_file": "x.json", **keys})
