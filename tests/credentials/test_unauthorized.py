from __future__ import annotations

import gzip
import zlib
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from proxy.credentials import _unauthorized as module
from proxy.credentials._unauthorized import PEEKED, Unauthorized
from tests.credentials.doubles import Bench, build, content, request
from tests.doubles import FakeClock, Script, answer


def answered(status: int, headers: dict[str, str] | None = None, *body: bytes) -> httpx.Response:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    response = answer(status, fields, *body)
    response.request = request(b"/base/app/page?a=1")
    return response


LOGIN: dict[str, Any] = {"status": [302], "redirect": "/login*"}
INVALID: dict[str, Any] = {"error": "invalid_token"}


@pytest.mark.parametrize(
    ("table", "status", "headers", "wanted"),
    [
        ({}, 401, {}, True),
        ({}, 403, {}, False),
        ({}, 200, {}, False),
        ({"status": [401, 403]}, 403, {}, True),
        ({"status": "401,403"}, 403, {}, True),
        ({"status": [419]}, 401, {}, False),
        (LOGIN, 302, {"Location": "/login?next=%2F"}, True),
        (LOGIN, 302, {"location": "https://other.test/login/again"}, True),
        (LOGIN, 302, {"Location": "/home"}, False),
        (LOGIN, 302, {"Location": "/home?to=/login"}, False),
        (LOGIN, 302, {}, False),
        (LOGIN, 303, {"Location": "/login"}, False),
        (LOGIN, 302, {"Location": "https://[/login"}, False),
        ({**LOGIN, "redirect": "/base/app/login"}, 302, {"Location": "login?x"}, True),
        ({**LOGIN, "redirect": "/base/login"}, 302, {"Location": "../login"}, True),
        ({**LOGIN, "redirect": "https://sso.test/*"}, 302, {"Location": "https://sso.test/auth?x"}, True),
        ({**LOGIN, "redirect": "https://sso.test/*"}, 302, {"Location": "https://other.test/auth"}, False),
        (INVALID, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, True),
        (INVALID, 401, {"www-authenticate": 'Basic realm="a", bearer Error=invalid_token'}, True),
        (INVALID, 401, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, False),
        (INVALID, 401, {"WWW-Authenticate": 'Bearer error_description="error=invalid_token"'}, False),
        (INVALID, 401, {}, False),
        (INVALID, 403, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, False),
    ],
)
async def test_what_the_head_says(table: dict[str, Any], status: int, headers: dict[str, str], *, wanted: bool) -> None:
    assert await Unauthorized.model_validate(table).matches(answered(status, headers)) is wanted


BODY = Unauthorized(status=(401, 403), body="token_expired")
TEXT = b'{"code": "token_expired", "why": "' + b"because " * 20 + b'"}'


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body", "wanted"),
    [
        ("", TEXT, True),
        ("identity", TEXT, True),
        ("gzip", gzip.compress(TEXT, mtime=0), True),
        (" GZIP ", gzip.compress(TEXT, mtime=0), True),
        ("x-gzip", gzip.compress(TEXT, mtime=0)[:-20], True),
        ("deflate", zlib.compress(TEXT), True),
        ("deflate", raw_deflate(TEXT), True),
        ("gzip", TEXT, False),
        ("deflate", b"\x00" + TEXT, False),
        ("br", b"whatever", False),
        ("gzip", gzip.compress(b"fine", mtime=0), False),
        ("", b"fine", False),
        ("", b"", False),
    ],
)
async def test_what_the_body_says_and_it_is_still_there(coding: str, body: bytes, *, wanted: bool) -> None:
    response = answered(403, {"Content-Encoding": coding} if coding else {}, body[:7], body[7:])
    assert await BODY.matches(response) is wanted
    assert await content(response) == body


async def test_no_more_than_its_start_is_looked_at() -> None:
    response = answered(401, {}, b"x" * PEEKED, TEXT)
    assert not await BODY.matches(response)
    assert await content(response) == b"x" * PEEKED + TEXT
    bomb = gzip.compress(b"0" * (64 << 20) + TEXT)
    assert not await BODY.matches(answered(401, {"Content-Encoding": "gzip"}, bomb))


async def test_a_body_is_not_touched_when_the_status_is_another() -> None:
    response = answered(200, {}, TEXT)
    before = response.stream
    assert not await BODY.matches(response)
    assert response.stream is before


async def test_all_conditions_hold() -> None:
    both = Unauthorized(status=(401,), body="token_expired", error="invalid_token")
    challenge = {"WWW-Authenticate": "Bearer error=invalid_token"}
    assert await both.matches(answered(401, challenge, TEXT))
    assert not await both.matches(answered(401, challenge, b"no"))
    assert not await both.matches(answered(401, {}, TEXT))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"status": []}, "at least 1"),
        ({"status": [99]}, "greater than or equal to 200"),
        ({"status": [600]}, "less than or equal to 599"),
        ({"body": ""}, "at least 1"),
        ({"redirect": "/login"}, "right would be status = "),
        ({"stauts": [401]}, "Extra inputs"),
    ],
)
def test_mistakes(table: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Unauthorized.model_validate(table)


def oauth2(issuer: Script, **unauthorized: Any) -> Any:
    return build(
        {"type": "oauth2", "grant": "client_credentials", "token_url": "https://issuer.test/t", "client_id": "i",
         "client_secret": "s", "unauthorized": unauthorized},
        issuer=issuer, clock=FakeClock(),
    )  # fmt: skip


def token(number: int) -> httpx.Response:
    return answer(200, [], b'{"access_token": "t%d"}' % number)


async def test_a_403_that_means_it_is_renewed_and_another_one_is_handed_on_whole() -> None:
    auth = oauth2(Script(token(1), token(2)), status=[401, 403], body="token_expired")
    bench = Bench(auth, answer(403, [], TEXT), 200, answer(403, [], b"never for you"))
    assert (await bench()).status_code == 200
    assert bench.story.notes == ("renewed token",)
    refused = await bench()
    assert (refused.status_code, await content(refused)) == (403, b"never for you")
    assert bench.sent("Authorization") == [b"Bearer t1", b"Bearer t2", b"Bearer t2"]


async def test_a_redirect_to_the_login_page_is_renewed() -> None:
    bench = Bench(oauth2(Script(token(1), token(2)), **LOGIN), answer(302, [(b"Location", b"/login?x")]), 200)
    assert (await bench()).status_code == 200


async def test_a_403_is_otherwise_never_a_reason() -> None:
    bench = Bench(oauth2(Script(token(1), token(2))), 403)
    assert (await bench()).status_code == 403


async def test_a_slow_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    from tests.transport.test_kept import told

    response, _ = told(b"data: 1\n\n")
    response.status_code = 401
    assert not await BODY.matches(response)
    await response.aclose()
