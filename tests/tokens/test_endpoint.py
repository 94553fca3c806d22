from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy import __version__
from proxy.errors import (
    ConnectionRefused,
    CredentialError,
    ProxyError,
    ReadTimeout,
    ResponseIncomplete,
    TokenEndpointDown,
)
from proxy.stores import Token
from proxy.tokens.endpoint import LARGEST, LONGEST_LIFE, Refused, TokenEndpoint, lifetime
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.doubles import START, FakeClock, Script, answer, raw_server, read_head

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

URL = "https://issuer.test/token?tenant=a"
CANARY = "canary-77aa"


def said(status: int, body: object, *headers: tuple[bytes, bytes]) -> Script:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Script(answer(status, list(headers), content))


async def asked(script: Script) -> Token:
    return await TokenEndpoint(URL, script, FakeClock()).request([("grant_type", "x")], {})


async def failure_of(script: Script) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await asked(script)
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert caught.value.__cause__ is None
    return caught.value


async def test_the_request_is_a_form_and_wants_plain_json() -> None:
    script = said(200, {"access_token": "t"})
    form = [("grant_type", "password"), ("resource", "a b"), ("resource", "ä&=")]
    await TokenEndpoint(URL, script, FakeClock()).request(form, {"Authorization": "Basic x"})
    (request,) = script.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert parse_qsl(script.bodies[0].decode()) == form
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["content-length"] == str(len(script.bodies[0]))
    assert (request.headers["accept"], request.headers["accept-encoding"]) == ("application/json", "identity")
    assert (request.headers["authorization"], request.headers["host"]) == ("Basic x", "issuer.test")
    assert request.headers["user-agent"] == f"countersign/{__version__}"


async def test_a_token_with_all_that_belongs_to_it() -> None:
    body = {"access_token": "t", "token_type": "bearer", "expires_in": 60, "refresh_token": "r", "scope": "a b"}
    assert await asked(said(200, body)) == Token("t", START + 60, "r", "a b", obtained_at=START)


async def test_a_token_may_come_alone_and_with_another_success() -> None:
    assert await asked(said(201, {"access_token": "t"})) == Token("t", None, obtained_at=START)


async def test_an_error_that_is_null_is_none() -> None:
    assert (await asked(said(200, {"access_token": "t", "error": None}))).access_token == "t"


async def test_the_answer_is_closed() -> None:
    response = answer(200, [], b"{}")
    await failure_of(Script(response))
    assert response.stream.closed  # type: ignore[union-attr]  # Pieces


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (3600, 3600.0), ("3600", 3600.0), (" 60 ", 60.0), (59.5, 59.5), ("59.5", 59.5), (0, None),
        ("0", None), (-1, None), ("-1", None), (True, None), (False, None), (float("nan"), None), ("NaN", None),
        (float("inf"), None), ("1e999", None), (10**400, None), (1e18, LONGEST_LIFE), ("never", None), ("", None),
        ([60], None), ({"seconds": 60}, None), (0.25, 0.25),
    ],
)  # fmt: skip
async def test_expires_in_is_taken_as_it_may_be_meant(value: object, seconds: float | None) -> None:
    assert lifetime(value) == seconds
    token = await asked(said(200, {"access_token": "t", "expires_in": value}))
    assert token.expires_at == (None if seconds is None else START + seconds)


@RELAXED
@given(st.none() | st.booleans() | st.floats() | st.integers() | st.text())
def test_whatever_expires_in_is_a_life_is_positive_and_bounded(value: object) -> None:
    life = lifetime(value)
    assert life is None or 0 < life <= LONGEST_LIFE


@pytest.mark.parametrize(
    "token", ["", " t", "t ", "t\n", "t\x00", "t\r\nX: y", "tö", "\ud800", 7, None, ["t"], True, {"a": "t"}]
)
async def test_a_token_that_can_not_stand_in_a_field_is_none(token: object) -> None:
    failure = await failure_of(said(200, {"access_token": token, "scope": CANARY}))
    assert (type(failure), failure.detail) == (
        CredentialError,
        "the token endpoint's answer has no usable access_token",
    )


@pytest.mark.parametrize("token", ["plain", "with space ", "ä€", "tab\there"])
async def test_a_refresh_token_only_has_to_stand_in_a_form(token: str) -> None:
    assert (await asked(said(200, {"access_token": "t", "refresh_token": token}))).refresh_token == token


@pytest.mark.parametrize("token", ["", None, 7, ["r"], "\ud800"])
async def test_a_refresh_token_that_is_none_is_as_if_it_were_missing(token: object) -> None:
    assert (await asked(said(200, {"access_token": "t", "refresh_token": token}))).refresh_token is None


@pytest.mark.parametrize("kind", ["mac", "DPoP", "", None, 7])
async def test_a_token_of_another_type_is_not_used(kind: object) -> None:
    failure = await failure_of(said(200, {"access_token": CANARY, "token_type": kind}))
    assert "not Bearer" in failure.detail


CODES = ["invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client", "access_denied"]


@pytest.mark.parametrize("status", [400, 401, 200, 403, 404])
@pytest.mark.parametrize("code", CODES)
async def test_an_error_code_is_a_refusal_whatever_the_status(status: int, code: str) -> None:
    failure = await failure_of(said(status, {"error": code, "error_description": CANARY, "access_token": CANARY}))
    assert isinstance(failure, Refused)
    assert failure.code == code
    assert failure.detail == f"the token endpoint refused: {code}" + "; login needed" * (code == "invalid_grant")


@pytest.mark.parametrize("error", [CANARY, {"message": CANARY}, [CANARY], 7])
async def test_an_error_that_is_not_known_is_not_repeated(error: object) -> None:
    failure = await failure_of(said(400, {"error": error}))
    assert failure.detail == "the token endpoint refused: an error of its own kind"


@pytest.mark.parametrize(
    ("status", "says"),
    [(400, "refused: status 400"), (401, "refused: invalid_client"), (403, "refused: status 403"),
     (404, "answered 404 with something that is no answer to it"),
     (200, "answered 200 with something that is no answer to it")],
)  # fmt: skip
@pytest.mark.parametrize(
    "body",
    [b"", f"<html>{CANARY}".encode(), b"\xff\xfe\xfd", b"[" * 100_000, f'["{CANARY}"]'.encode(), b"null", b"1" * 5000],
    ids=range(7),
)
async def test_what_is_no_json_object_is_no_token(status: int, says: str, body: bytes) -> None:
    failure = await failure_of(said(status, body))
    assert isinstance(failure, CredentialError)
    assert failure.detail == f"the token endpoint {says}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    script = said(status, b"", (b"Location", f"https://other.test/?{CANARY}".encode()))
    failure = await failure_of(script)
    assert (type(failure), len(script.requests)) == (CredentialError, 1)
    assert "redirects" in failure.detail


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
@pytest.mark.parametrize("body", [{"error": "invalid_grant"}, {"access_token": "t"}], ids=["error", "token"])
async def test_an_endpoint_that_is_down_or_busy_says_nothing_of_the_credential(status: int, body: object) -> None:
    failure = await failure_of(said(status, body))
    assert isinstance(failure, TokenEndpointDown)
    assert (failure.status, failure.retry_after, failure.sent) == (503, 1 if status == 429 else None, True)
    assert failure.detail == f"the token endpoint answered {status}"


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error"])
async def test_so_does_one_that_says_so_with_a_code(code: str) -> None:
    failure = await failure_of(said(400, {"error": code}))
    assert (type(failure), failure.detail) == (TokenEndpointDown, f"the token endpoint answered {code}")


async def test_what_it_says_to_wait_is_told() -> None:
    failure = await failure_of(said(429, b"", (b"Retry-After", b"17")))
    assert failure.retry_after == 17


async def test_a_huge_answer_is_not_read() -> None:
    piece = CANARY.encode() * 4096
    failure = await failure_of(Script(answer(200, [], *[piece] * (LARGEST // len(piece) + 2))))
    assert (type(failure), failure.detail) == (CredentialError, "the token endpoint's answer is too large")


async def test_a_huge_error_page_is_still_an_outage() -> None:
    failure = await failure_of(Script(answer(500, [], *[b"x" * 65536] * 40)))
    assert isinstance(failure, TokenEndpointDown)


@pytest.mark.parametrize("problem", [ConnectionRefused(), ReadTimeout(sent=True), ResponseIncomplete(sent=True)])
async def test_a_failure_on_the_way_is_an_outage(problem: ProxyError) -> None:
    failure = await failure_of(Script(problem))
    assert (type(failure), failure.detail) == (TokenEndpointDown, f"the token endpoint: {problem.detail}")
    assert failure.__context__ is None


# -- over a real socket --------------------------------------------------------------------------------------


@asynccontextmanager
async def endpoint(content: bytes, *, hang: bool = False) -> AsyncIterator[TokenEndpoint]:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(content)
        await writer.drain()
        if hang:
            await reader.read()

    client = StockTransport(context)
    async with raw_server(play) as port:
        try:
            yield TokenEndpoint(f"http://127.0.0.1:{port}/token", client, FakeClock(), timeout=0.1 if hang else 10)
        finally:
            await client.aclose()


async def test_a_real_one_gives_a_token() -> None:
    body = b'{"access_token": "t"}'
    async with endpoint(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as real:
        assert (await real.request([("a", "b")], {})).access_token == "t"


async def test_one_that_is_not_there_is_down() -> None:
    async with endpoint(b"") as real:
        pass
    with pytest.raises(TokenEndpointDown, match="refuses connections"):
        await real.request([("secret", CANARY)], {"Authorization": CANARY})


@pytest.mark.parametrize(
    "content",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
)
async def test_one_that_hangs_is_down(content: bytes) -> None:
    async with endpoint(content, hang=True) as real:
        with pytest.raises(TokenEndpointDown, match=r"took longer than 0\.1 s") as caught:
            await real.request([("secret", CANARY)], {"Authorization": CANARY})
    assert (caught.value.retry_after, caught.value.sent) == (None, True)


async def test_an_error_page_that_never_ends_is_not_waited_for() -> None:
    async with endpoint(b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\n<", hang=True) as real:
        with pytest.raises(TokenEndpointDown, match="answered 500"):
            await real.request([], {})


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"garbage\r\n\r\n"])
async def test_one_that_breaks_off_is_down(content: bytes) -> None:
    async with endpoint(content) as real:
        with pytest.raises(TokenEndpointDown):
            await real.request([], {})
