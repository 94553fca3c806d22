from __future__ import annotations

import asyncio
import gzip
import json
import traceback
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

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
from proxy.tokens import endpoint as module
from proxy.tokens.endpoint import LARGEST, LONGEST_LIFE, Refused, TokenEndpoint, lifetime
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.doubles import START, FakeClock, Script, answer, raw_server, read_head

# A busy machine is no failure.
RELAXED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])

URL = "https://issuer.test/token?tenant=a"
CANARY = "canary-77aa"
JSON = (b"Content-Type", b"application/json")


def said(status: int, body: object, *headers: tuple[bytes, bytes]) -> Script:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Script(answer(status, list(headers), content))


async def asked(script: Script, secret: str = "") -> Token:
    form = [("grant_type", "x"), ("client_secret", secret)]
    return await TokenEndpoint(URL, script, FakeClock()).request(form, {})


async def failure_of(script: Script, secret: str = "") -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await asked(script, secret)
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
    body = {"access_token": token, "scope": CANARY}
    failure = await failure_of(said(200, body, JSON))
    size = len(json.dumps(body))
    assert (type(failure), failure.detail) == (
        CredentialError,
        f"the token endpoint's answer has no usable access_token (application/json, {size} bytes)",
    )


@pytest.mark.parametrize("token", ["plain", "with space ", "ä€", "tab\there"])
async def test_a_refresh_token_only_has_to_stand_in_a_form(token: str) -> None:
    assert (await asked(said(200, {"access_token": "t", "refresh_token": token}))).refresh_token == token


@pytest.mark.parametrize("token", ["", None, 7, ["r"], "\ud800"])
async def test_a_refresh_token_that_is_none_is_as_if_it_were_missing(token: object) -> None:
    assert (await asked(said(200, {"access_token": "t", "refresh_token": token}))).refresh_token is None


@pytest.mark.parametrize("kind", ["mac", "DPoP", "N_A", "Bearer, mac", 7, True, ["Bearer"], {"a": "Bearer"}])
async def test_a_token_of_another_type_is_not_used(kind: object) -> None:
    failure = await failure_of(said(200, {"access_token": CANARY, "token_type": kind}))
    assert "not Bearer" in failure.detail


@pytest.mark.parametrize(
    "kind", ["Bearer", "BEARER", " bearer ", "BearerToken", "bearer_token", "Bearer Token", None, "", "null", "bot"]
)
async def test_a_bearer_token_may_be_named_otherwise(kind: object) -> None:
    assert (await asked(said(200, {"access_token": "t", "token_type": kind}))).access_token == "t"


@pytest.mark.parametrize("kind", ["Bearer", "BearerToken", None, "", "bot"])
async def test_where_tokens_are_bound_to_a_key_a_bearer_token_is_refused(kind: object) -> None:
    endpoint = TokenEndpoint(URL, said(200, {"access_token": CANARY, "token_type": kind}), FakeClock())
    with pytest.raises(CredentialError, match="token_type that is not DPoP"):
        await endpoint.request([], {}, ("dpop",))
    endpoint = TokenEndpoint(URL, said(200, {"access_token": CANARY}), FakeClock())
    with pytest.raises(CredentialError, match="token_type that is not DPoP"):
        await endpoint.request([], {}, ("dpop",))


# -- what servers send in place of plain JSON ------------------------------------------------------------------

TOKEN: dict[str, Any] = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r/+="}
PLAIN = json.dumps(TOKEN).encode()
FORM = urlencode(TOKEN).encode()
deflater = zlib.compressobj(wbits=-15)
RAW_DEFLATE = deflater.compress(PLAIN) + deflater.flush()
BODIES: dict[str, tuple[bytes, list[tuple[bytes, bytes]]]] = {
    "text/html": (PLAIN, [(b"Content-Type", b"text/html")]),
    "no type": (PLAIN, []),
    "byte order mark": (b"\xef\xbb\xbf" + PLAIN, []),
    "form": (FORM, [(b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")]),
    "form as text": (FORM + b"\n", [(b"Content-Type", b"text/plain")]),
    "form without a type": (FORM, []),
    "gzip": (gzip.compress(PLAIN), [(b"Content-Encoding", b"gzip"), JSON]),
    "x-gzip": (gzip.compress(PLAIN), [(b"Content-Encoding", b"X-GZIP"), JSON]),
    "gzip that is not announced": (gzip.compress(PLAIN), [JSON]),
    "gzip that is none": (PLAIN, [(b"Content-Encoding", b"gzip"), JSON]),
    "gzip of a form": (gzip.compress(FORM), [(b"Content-Encoding", b"gzip"), (b"Content-Type", b"text/plain")]),
    "deflate": (zlib.compress(PLAIN), [(b"Content-Encoding", b"deflate"), JSON]),
    "deflate without a frame": (RAW_DEFLATE, [(b"Content-Encoding", b"deflate"), JSON]),
}


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("name", list(BODIES))
async def test_a_token_is_read_however_it_is_packed(name: str, status: int) -> None:
    body, headers = BODIES[name]
    assert await asked(said(status, body, *headers)) == Token("t", START + 3600, "r/+=", obtained_at=START)


UNUSABLE = [
    (b"<html>" + CANARY.encode(), (b"text/html",), "text/html, 17 bytes"),
    (b"", (), "no content type, 0 bytes"),
    (b"x", (b"text/plain; charset=utf-8",), "text/plain, 1 byte"),
    (CANARY.encode(), (b"\x1b[2J" + CANARY.encode(),), "an invalid content type, 11 bytes"),
    (CANARY.encode(), (b"application/json", b"br"), "application/json, br, 11 bytes"),
    (CANARY.encode(), (b"application/json", b"\x1b[2J"), "application/json, an invalid content encoding, 11 bytes"),
    (f"a={CANARY}".encode(), (b"text/plain",), "text/plain, 13 bytes"),
    (f"<a>&access_token={CANARY}".encode(), (b"text/html",), "text/html, 28 bytes"),
    (f'["{CANARY}"]'.encode(), (b"application/json",), "application/json, 15 bytes"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "fields", "about"), UNUSABLE)
async def test_a_body_that_can_not_be_used_is_described(body: bytes, fields: tuple[bytes, ...], about: str) -> None:
    headers = [*zip((b"Content-Type", b"Content-Encoding"), fields, strict=False)]
    for status, says in [
        (200, f"answered 200 with a body that can't be used ({about}); expected JSON"),
        (404, f"answered 404 with a body that can't be used ({about}); expected JSON"),
        (400, f"refused: status 400 ({about})"),
        (401, f"refused: invalid_client (status 401, {about})"),
    ]:
        assert (await failure_of(said(status, body, *headers))).detail == f"the token endpoint {says}"


async def test_a_content_type_that_repeats_a_secret_of_the_request_is_masked() -> None:
    failure = await failure_of(said(400, b"", (b"Content-Type", b"x/" + CANARY.encode())), secret=CANARY)
    assert failure.detail == "the token endpoint refused: status 400 (x/***, 0 bytes)"


async def test_a_form_without_a_token_is_described_too() -> None:
    failure = await failure_of(
        said(200, f"a={CANARY}".encode(), (b"Content-Type", b"application/x-www-form-urlencoded"))
    )
    about = "application/x-www-form-urlencoded, 13 bytes"
    assert failure.detail == f"the token endpoint's answer has no usable access_token ({about})"


async def test_what_is_small_on_the_way_may_not_be_huge() -> None:
    bomb = gzip.compress(b" " * (LARGEST + 1))
    failure = await failure_of(said(200, bomb, (b"Content-Encoding", b"gzip"), JSON))
    assert failure.detail.endswith(
        f"a body that can't be used (application/json, gzip, {len(bomb)} bytes); expected JSON"
    )


# -- errors ----------------------------------------------------------------------------------------------------


CODES = ["invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client", "access_denied"]


@pytest.mark.parametrize("status", [400, 401, 200, 403, 404])
@pytest.mark.parametrize("code", CODES)
async def test_an_error_code_is_a_refusal_whatever_the_status(status: int, code: str) -> None:
    failure = await failure_of(said(status, {"error": code, "error_description": "No.", "access_token": CANARY}))
    assert isinstance(failure, Refused)
    assert failure.code == code
    hint = "; login needed" * (code == "invalid_grant")
    assert failure.detail == f"the token endpoint refused: {code} (No.){hint}"
    failure = await failure_of(said(status, {"error": code}))
    assert isinstance(failure, Refused)
    assert failure.detail == f"the token endpoint refused: {code}{hint}"
    assert str(failure.again()) == str(failure)


ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"error": "own_code"}, "own_code"),
    ({"error": "own_code", "error_description": "two\nlines\t\x1b[31mred\x1b[0m"}, "own_code (two lines red)"),
    ({"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT (No.)"),
    ({"error": {"code": 190, "message": "No."}}, "190 (No.)"),
    ({"type": "error", "error": {"type": "rate", "message": "No."}}, "rate (No.)"),
    ({"error": {"message": "No."}}, "error (No.)"),
    ({"error": True, "message": "No."}, "error (No.)"),
    ({"error": 7}, "error 7"),
    ({"ok": False, "error": "invalid_refresh_token"}, "invalid_refresh_token"),
    ({"ok": False}, "ok: false"),
    ({"success": False, "errors": [{"code": 6003, "message": "No."}]}, "6003 (No.)"),
    ({"errors": "No."}, "No."),
]  # fmt: skip


@pytest.mark.parametrize("status", [200, 400, 401, 404, 422])
@pytest.mark.parametrize(("body", "says"), ERRORS)
async def test_what_the_server_said_is_shown(body: dict[str, Any], says: str, status: int) -> None:
    failure = await failure_of(said(status, body))
    assert isinstance(failure, Refused)
    assert failure.detail == f"the token endpoint refused: {says}"


@pytest.mark.parametrize(
    ("status", "says"),
    [(400, "refused: status 400 (No.)"), (401, "refused: invalid_client (No.)"), (403, "refused: status 403 (No.)"),
     (404, "answered 404 with a body that can't be used (no content type, 18 bytes: No.); expected JSON"),
     (200, "'s answer has no usable access_token (no content type, 18 bytes: No.)")],
)  # fmt: skip
async def test_a_message_without_a_code_is_shown_too(status: int, says: str) -> None:
    failure = await failure_of(said(status, {"message": "No."}))
    assert failure.detail.removeprefix("the token endpoint").strip() == says


async def test_an_error_may_be_a_form() -> None:
    body = b"error=invalid_grant&error_description=The+code+is+over.&error_uri=x"
    for headers in ([(b"Content-Type", b"application/x-www-form-urlencoded")], [(b"Content-Type", b"text/plain")], []):
        failure = await failure_of(said(200, body, *headers))
        assert isinstance(failure, Refused)
        assert failure.code == "invalid_grant"
        assert "invalid_grant (The code is over.)" in failure.detail


async def test_an_object_may_have_the_code_that_decides() -> None:
    failure = await failure_of(said(400, {"error": {"code": "invalid_grant", "message": "No."}}))
    assert isinstance(failure, Refused)
    assert failure.code == "invalid_grant"


async def test_a_description_in_another_charset_is_shown() -> None:
    body = '{"error": "invalid_grant", "error_description": "Zur\u00fcck"}'.encode("latin-1").replace(
        b"\\u00fc", b"\xfc"
    )
    assert "(Zurück)" in (await failure_of(said(400, body))).detail


async def test_a_long_one_is_cut() -> None:
    failure = await failure_of(said(400, {"error": "invalid_scope", "error_description": "x" * 5000}))
    text = failure.detail.removeprefix("the token endpoint refused: ")
    assert (len(text), text[:20], text[-2:]) == (300, "invalid_scope (xxxxx", "x…")


SENT = [
    ("grant_type", "refresh_token"),
    ("refresh_token", CANARY + "-r"),
    ("client_secret", CANARY + "/s"),
    ("scope", "a"),
]
BASIC = {"Authorization": "Basic " + b64encode(f"app:{quote_plus(CANARY + '+b')}".encode()).decode()}


@pytest.mark.parametrize(
    "echo",
    [
        f"the token {CANARY}-r is unknown", f"refresh_token={CANARY}-r", f"secret '{CANARY}/s'", f"<{CANARY}%2Fs>",
        f"app:{CANARY}+b", f"app:{CANARY}%2Bb", BASIC["Authorization"], BASIC["Authorization"][6:], f"got {CANARY}-a",
        f"{CANARY[:5]}\x00{CANARY[5:]}-r", f"{CANARY[:5]}\x1b[1m{CANARY[5:]}-r", f"{CANARY}-r".upper(),
        b64encode(f"{CANARY}-r".encode()).decode(), f"api key {CANARY}-q", f"a configured one: {CANARY}-c",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["error", "error_description"])
async def test_a_secret_that_the_server_repeats_is_masked(echo: str, field: str) -> None:
    async def configured() -> list[str]:
        return [f"{CANARY}-c"]

    body = {"error": "invalid_grant", "access_token": f"{CANARY}-a", field: f"begin {echo} end"}
    script = said(400, body)
    endpoint = TokenEndpoint(f"{URL}&api_key={CANARY}-q", script, FakeClock(), secrets=configured)
    with pytest.raises(Refused) as caught:
        await endpoint.request(SENT, BASIC)
    assert CANARY not in "".join(traceback.format_exception(caught.value)).lower() + repr(vars(caught.value)).lower()
    assert "begin " in caught.value.detail
    assert "***" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "says"),
    [(400, "refused: status 400"), (401, "refused: invalid_client"), (403, "refused: status 403"),
     (404, "answered 404 with a body that can't be used"), (200, "answered 200 with a body that can't be used")],
)  # fmt: skip
@pytest.mark.parametrize(
    "body",
    [b"", f"<html>{CANARY}".encode(), b"\xff\xfe\xfd", b"[" * 100_000, f'["{CANARY}"]'.encode(), b"null", b"1" * 5000],
    ids=range(7),
)
async def test_what_is_no_json_object_is_no_token(status: int, says: str, body: bytes) -> None:
    failure = await failure_of(said(status, body))
    assert isinstance(failure, CredentialError)
    assert failure.detail.startswith(f"the token endpoint {says} (")
    assert f"no content type, {len(body)} byte" in failure.detail


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


async def test_what_one_that_is_down_says_is_shown() -> None:
    body = {"error": "temporarily_unavailable", "error_description": f"until five, {CANARY}-r"}
    script = said(503, body, JSON)
    with pytest.raises(TokenEndpointDown) as caught:
        await TokenEndpoint(URL, script, FakeClock()).request(SENT, {})
    assert caught.value.detail == "the token endpoint answered 503 (temporarily_unavailable (until five, ***))"
    failure = await failure_of(said(400, {"error": "server_error", "error_description": "no database"}))
    assert failure.detail == "the token endpoint answered server_error (no database)"


async def test_what_it_says_to_wait_is_told() -> None:
    failure = await failure_of(said(429, b"", (b"Retry-After", b"17")))
    assert failure.retry_after == 17


async def test_a_huge_answer_is_not_read() -> None:
    piece = CANARY.encode() * 4096
    failure = await failure_of(Script(answer(200, [], *[piece] * (LARGEST // len(piece) + 2))))
    assert (type(failure), failure.detail) == (CredentialError, "the token endpoint's answer is too large")


@pytest.mark.parametrize("headers", [[], [JSON]], ids=["page", "json"])
async def test_a_huge_error_page_is_still_an_outage(headers: list[tuple[bytes, bytes]]) -> None:
    failure = await failure_of(Script(answer(500, headers, *[b"x" * 65536] * 40)))
    assert (type(failure), failure.detail) == (TokenEndpointDown, "the token endpoint answered 500")


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


@pytest.mark.parametrize("kind", [b"text/html", b"application/json"])
async def test_an_error_page_that_never_ends_is_not_waited_for(kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BRIEFLY", 0.01)
    head = b"HTTP/1.1 500 No\r\nContent-Type: %b\r\nContent-Length: 100\r\n\r\n<" % kind
    async with endpoint(head, hang=True) as real:
        with pytest.raises(TokenEndpointDown, match="answered 500"):
            await real.request([], {})


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"garbage\r\n\r\n"])
async def test_one_that_breaks_off_is_down(content: bytes) -> None:
    async with endpoint(content) as real:
        with pytest.raises(TokenEndpointDown):
            await real.request([], {})
