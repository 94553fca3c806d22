"""Authlib's classes, which are classes of httpx2 where that is installed; its server side judges what they sign."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from authlib.integrations.httpx_client import OAuth1Auth
from authlib.oauth1.rfc5849.signature import verify_hmac_sha1
from authlib.oauth1.rfc5849.wrapper import OAuth1Request

from tests.journeys.conftest import Build
from tests.journeys.wires import Message

CLIENT, SECRET, TOKEN_SECRET = "client-id", "s3cret-of-the-client", "s3cret-of-the-token"
OAUTH1 = {
    "type": "python", "class": "authlib.integrations.httpx_client:OAuth1Auth", "client_id": CLIENT,
    "client_secret": {"env": "SECRET_OF_TEST"}, "token": "t0ken-of-a-user", "token_secret": TOKEN_SECRET,
}  # fmt: skip
FORM = b"POST /v1/form?b=2&a=1%20x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"


class Secrets:
    """What the server knows of the client."""

    def get_client_secret(self) -> str:
        return SECRET

    def get_oauth_token_secret(self) -> str:
        return TOKEN_SECRET


def is_signed(message: Message, upstream: str) -> bool:
    fields = {name.decode().title(): value.decode() for name, value in message.fields}
    seen = OAuth1Request(
        message.method.decode(), upstream + message.target.decode(), message.body.decode() or None, fields
    )
    seen.client = seen.credential = Secrets()
    return bool(verify_hmac_sha1(seen))


def test_authlib_s_classes_are_those_of_httpx2() -> None:
    assert issubclass(OAuth1Auth, httpx2.Auth)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v1/x?b=2&a=1%20x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        FORM + b"Content-Length: 7\r\n\r\nc=3&d=4",
    ],
)
async def test_oauth1_signs_what_is_sent(build: Build, monkeypatch: pytest.MonkeyPatch, request_: bytes) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", SECRET)
    house = await build(credential=OAUTH1)
    for _ in range(2):
        assert (await house.ask(request_)).status == 200
    for seen in house.api.messages:
        assert is_signed(seen, house.api.url)
        assert seen.body == request_.partition(b"\r\n\r\n")[2]
    first, second = (seen.get("Authorization") for seen in house.api.messages)
    assert first != second


@pytest.mark.parametrize("placement", ["header", "uri"])
async def test_oauth2_puts_the_token_where_it_is_to_go(build: Build, placement: str) -> None:
    token = {"access_token": "t0ken-of-a-user", "token_type": "bearer"}
    class_ = "authlib.integrations.httpx_client:OAuth2Auth"
    credential: dict[str, Any] = {"type": "python", "class": class_, "token": token, "token_placement": placement}
    house = await build(credential=credential)
    assert (await house.ask(b"GET /x?a=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")).status == 200
    (seen,) = house.api.messages
    places = {
        "header": (b"/x?a=1", b"Bearer t0ken-of-a-user"),
        "uri": (b"/x?a=1&access_token=t0ken-of-a-user", None),
    }
    assert (seen.target, seen.get("Authorization")) == places[placement]


async def test_oauth2_s_client_authentication(build: Build) -> None:
    class_ = "authlib.integrations.httpx_client:OAuth2ClientAuth"
    credential = {
        "type": "python", "class": class_, "client_id": CLIENT, "client_secret": SECRET,
        "auth_method": "client_secret_basic",
    }  # fmt: skip
    house = await build(credential=credential)
    assert (await house.ask()).status == 200
    assert (house.api.messages[0].get("Authorization") or b"").startswith(b"Basic ")
