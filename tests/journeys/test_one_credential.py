"""Exactly one credential arrives, and it is ours, whatever the client sends beside it; none that splits a head does."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.errors import ConfigError
from tests.journeys.conftest import TOKEN, Build
from tests.journeys.wires import Api, Message, answer

THEIRS = b"theirs-4711"
KEY = {"type": "api_key", "name": "X-Api-Key", "value": TOKEN}
QUERY = {"type": "api_key", "name": "api_key", "in": "query", "value": TOKEN}
COOKIE = {"type": "api_key", "name": "sid", "in": "cookie", "value": TOKEN}
HMAC = {
    "type": "hmac", "key_id": TOKEN, "secret": "s3cret-of-hmac", "string_to_sign": "{method} {target}",
    "headers": {"X-Key": "{key_id}", "X-Sig": "{signature}"}, "query": {"key_id": "{key_id}", "sig": "{signature}"},
}  # fmt: skip


def get(*lines: bytes, target: bytes = b"/x") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: localhost", *lines]) + b"\r\n\r\n"


async def arrived(build: Build, request: bytes, credential: dict[str, Any], **route: Any) -> Message:
    """The one message that reached the API, which holds nothing of the client's."""
    house = await build(credential=credential, **route)
    assert (await house.ask(request)).status == 200
    (seen,) = house.api.messages
    assert THEIRS not in house.api.heard
    assert seen.raw.count(TOKEN.encode()) == (2 if credential is HMAC else 1)
    return seen


# -- in a field ----------------------------------------------------------------------------------------------

BEARER: dict[str, Any] = {"type": "bearer", "token": TOKEN}
FIELDS = {
    "doubled": (b"authorization: " + THEIRS, b"AUTHORIZATION: " + THEIRS, b"X-Api-Key: " + THEIRS),
    "named by Connection": (
        b"Connection: Authorization, x-api-key, close", b"Authorization: " + THEIRS, b"X-Api-Key: " + THEIRS,
    ),
    "named by Connection only": (b"Connection: authorization", b"Connection: X-API-KEY, Host, keep-alive"),
    "with underscores": (b"X_Api_Key: " + THEIRS, b"x_api-key: " + THEIRS, b"X-API_KEY: " + THEIRS),
    "with what CGI takes for underscores": (b"X.Api.Key: " + THEIRS, b"x~api!key: " + THEIRS, b"X|Api-Key: " + THEIRS),
    "for a proxy": (b"Proxy-Authorization: Basic " + THEIRS, b"Proxy_Authorization: x" + THEIRS),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_of_the_clients_makes_way(build: Build, name: str) -> None:
    seen = await arrived(build, get(*FIELDS[name]), KEY)
    assert (seen.all("X-Api-Key"), seen.all("Authorization")) == ([TOKEN.encode()], [])
    seen = await arrived(build, get(*(line for line in FIELDS[name] if b"uthorization" in line)), BEARER)
    assert seen.all("Authorization") == [b"Bearer " + TOKEN.encode()]


async def test_what_the_signing_sets_makes_way(build: Build) -> None:
    lines = (b"X-Key: " + THEIRS, b"X_KEY: " + THEIRS, b"x-sig: " + THEIRS, b"X.Sig: " + THEIRS, b"Connection: X-Sig")
    target = b"/x?KEY_ID=" + THEIRS + b"&a=1;sig=" + THEIRS + b"&sig[]=" + THEIRS + b"&key.id=" + THEIRS + b"&%53ig"
    seen = await arrived(build, get(*lines, target=target), HMAC)
    assert seen.target.startswith(b"/x?a=1&key_id=" + TOKEN.encode() + b"&sig=")
    assert (len(seen.all("X-Key")), len(seen.all("X-Sig"))) == (1, 1)


async def test_one_that_connection_names_is_not_kept_and_ours_is_sent(build: Build) -> None:
    request = get(b"Connection: Authorization", b"Authorization: " + THEIRS)
    seen = await arrived(build, request, BEARER, client_authorization="keep")
    assert seen.all("Authorization") == [b"Bearer " + TOKEN.encode()]


# -- in the query, in a cookie -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [b"api_key", b"%61pi_key", b"%2561pi_key", b"API_KEY", b"api_key[]", b"api_key[0]", b"+api_key", b"api.key",
     b"api%5Fkey", b"api_key%00", b"api+key"],
)  # fmt: skip
async def test_a_parameter_that_shadows_ours_makes_way(build: Build, name: bytes) -> None:
    for separator in (b"?", b"?a=1&", b"?a=1;", b"?;"):
        target = b"/x" + separator + name + b"=" + THEIRS
        assert (await arrived(build, get(target=target), QUERY)).target.endswith(b"api_key=" + TOKEN.encode())


@pytest.mark.parametrize(
    "cookie", [b"sid=%b", b"a=1; SID=%b", b"a=1;s%%69d=%b; b=2", b"sid[]=%b", b"a=1, sid=%b", b'"; sid=%b']
)
async def test_a_cookie_that_shadows_ours_makes_way(build: Build, cookie: bytes) -> None:
    cookies = (b"Cookie: " + cookie % THEIRS, b"cookie: sid=" + THEIRS)
    seen = await arrived(build, get(*cookies), COOKIE)
    assert (seen.get("Cookie") or b"").endswith(b"sid=" + TOKEN.encode())


# -- what would split a head ---------------------------------------------------------------------------------

BREAKS = ["a\r\nX-Evil: b", "a\nb", "a\rb", "a\0b", "a\x01b", "a\x7fb"]


class Breaking(httpx.Auth):
    """Somebody's, which does not look at what it sends."""

    def __init__(self, field: str) -> None:
        self._name, self._value = field.encode().decode("unicode_escape").split("|")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._name] = self._value
        yield request


def from_file(text: str, folder: Path) -> dict[str, Any]:
    folder.joinpath("secret").write_bytes(text.encode())
    return {"file": str(folder / "secret")}


def dynamic(text: str, folder: Path, url: str) -> dict[str, dict[str, Any]]:
    """Credentials that turn out to be `text` when they are asked for."""
    source = from_file(text, folder)
    printed = folder / "printed"
    printed.write_text(json.dumps({"token": text}))
    return {
        "a file": {"type": "bearer", "token": source},
        "a command": {"type": "bearer", "token": {"command": ["cat", source["file"]]}},
        "a field": {**KEY, "value": source},
        "a parameter": {**QUERY, "value": source},
        "a cookie": {**COOKIE, "value": source},
        "a user": {"type": "basic", "username": source, "password": "p"},
        "a signature": {**HMAC, "key_id": source},
        "a program": {"type": "exec", "command": ["cat", str(printed)]},
        "a token endpoint": {"type": "oauth2", "grant": "client_credentials", "client_id": "c",
                             "client_secret": "s3cret-of-client", "token_url": url},
    }  # fmt: skip


@pytest.mark.parametrize("text", BREAKS)
async def test_a_credential_that_would_split_a_head_is_a_502(build: Build, tmp_path: Path, text: str) -> None:
    token = json.dumps({"access_token": text, "token_type": "Bearer", "expires_in": 60}).encode()
    async with Api() as issuer:
        issuer.always = answer(200, token, "Content-Type: application/json")
        for name, credential in dynamic(text, tmp_path, issuer.url).items():
            house = await build(credential=credential)
            seen = await house.ask(get())
            assert (seen.status, seen.error) == (502, "proxy_configuration_error"), name
            assert (house.api.heard, seen.all("X-Evil")) == (b"", [])


@pytest.mark.parametrize("field", [*(f"X-Key|{text}" for text in BREAKS), "X: Y|a", "X Y|a", "|a", "X\r\nY|a"])
async def test_so_is_what_a_strangers_auth_makes(build: Build, field: str) -> None:
    escaped = field.encode("unicode_escape").decode()
    house = await build(credential={"type": "python", "class": f"{__name__}:Breaking", "field": escaped})
    seen = await house.ask(get())
    assert (seen.status, house.api.heard) == (502, b"")
    assert seen.error == "proxy_configuration_error"


@pytest.mark.parametrize("text", BREAKS)
async def test_in_the_configuration_it_is_refused_at_once(build: Build, text: str) -> None:
    for credential in ({**KEY, "value": text}, {**COOKIE, "value": text}, {**BEARER, "token": text}):
        with pytest.raises(ConfigError) as caught:
            await build(credential=credential)
        assert "control character" in str(caught.value)
        assert "X-Evil" not in str(caught.value)
    with pytest.raises(ConfigError):
        await build(request_headers={"set": {"X-A": text}})


@pytest.mark.parametrize("text", BREAKS)
async def test_a_template_that_would_split_a_head_is_refused(build: Build, text: str) -> None:
    with pytest.raises(ConfigError):
        await build(credential={**HMAC, "headers": {"X-Sig": text + "{signature}"}})
