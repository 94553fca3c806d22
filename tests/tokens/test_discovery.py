"""Where an authorization server's endpoints are."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConnectionRefused, CredentialError, TokenEndpointDown
from proxy.tokens.discovery import MAX_AGE, AuthorizationServer, well_known
from proxy.tokens.endpoint import LARGEST
from proxy.tokens.settings import check_url
from tests.doubles import FakeClock, Script, answer
from tests.tokens.doubles import settings

ISSUER = "https://issuer.test"
CANARY = "canary-1e"


def document(**members: Any) -> httpx.Response:
    body = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t", **members}
    return answer(200, [], json.dumps(body).encode())


def server(script: Script, clock: FakeClock | None = None, **keys: Any) -> AuthorizationServer:
    keys = {"issuer": ISSUER, "token_url": None, **keys}
    return AuthorizationServer(settings(**keys), script, clock or FakeClock())


async def failure(script: Script, **keys: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        await server(script, **keys).token_url()
    assert CANARY not in str(caught.value)
    return caught.value.detail


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        ("https://a.test", ["https://a.test/.well-known/oauth-authorization-server",
                            "https://a.test/.well-known/openid-configuration"]),
        ("https://a.test/", ["https://a.test/.well-known/oauth-authorization-server",
                             "https://a.test/.well-known/openid-configuration"]),
        ("https://a.test:8443/t/1", ["https://a.test:8443/.well-known/oauth-authorization-server/t/1",
                                     "https://a.test:8443/t/1/.well-known/openid-configuration",
                                     "https://a.test:8443/.well-known/openid-configuration/t/1"]),
        ("http://[::1]:9/a%2Fb/", ["http://[::1]:9/.well-known/oauth-authorization-server/a%2Fb",
                                   "http://[::1]:9/a%2Fb/.well-known/openid-configuration",
                                   "http://[::1]:9/.well-known/openid-configuration/a%2Fb"]),
    ],
)  # fmt: skip
def test_where_metadata_may_be(issuer: str, urls: list[str]) -> None:
    assert list(well_known(issuer)) == urls


async def test_what_is_configured_is_not_asked_for() -> None:
    script = Script()
    assert await server(script, token_url="https://x.test/t").token_url() == "https://x.test/t"
    assert script.requests == []


async def test_metadata_is_asked_for_once() -> None:
    script = Script(document(token_endpoint="https://other.test/t"))
    found = server(script)
    assert [await found.token_url() for _ in range(3)] == ["https://other.test/t"] * 3
    (request,) = script.requests
    assert (request.method, str(request.url)) == ("GET", f"{ISSUER}/.well-known/oauth-authorization-server")


INSIDE = [
    "https://127.0.0.1:8080/b/oauth/token", "http://127.0.0.1/t", "https://localhost/t", "https://a.localhost/t",
    "https://[::1]/t", "https://[::ffff:127.0.0.1]/t", "https://0.0.0.0/t", "https://127.1/t", "https://0x7f000001/t",
    "https://169.254.169.254/latest", "https://metadata.google.internal/t", "https://LOCALHOST./t",
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
async def test_metadata_of_another_server_names_nothing_on_this_machine(url: str) -> None:
    for insecure in (False, True):
        assert "token_endpoint of the server's metadata" in await failure(
            Script(document(token_endpoint=url)), insecure=insecure
        )


async def test_an_issuer_on_this_machine_may_name_it() -> None:
    issuer = "http://127.0.0.1:9"
    script = Script(document(issuer=issuer, token_endpoint="http://localhost:9/t"))
    assert await server(script, issuer=issuer).token_url() == "http://localhost:9/t"


@pytest.mark.parametrize("first", [404, 400, answer(200, [], b"<html>"), answer(200, [], b"[]")])
async def test_openid_s_place_is_the_next(first: Any) -> None:
    script = Script(first, document())
    assert await server(script).token_url() == f"{ISSUER}/t"
    assert [request.url.path for request in script.requests] == [
        "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
    ]  # fmt: skip


async def test_without_metadata_there_is_no_endpoint() -> None:
    page = answer(200, [(b"Content-Type", b"text/html")], f"<html>{CANARY}".encode())
    body = json.dumps({"error": "invalid_tenant", "error_description": "Tenant 'x' not found."}).encode()
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((404, 404), "status 404, no content type, 0 bytes"),
        ((page, 404), f"status 200, text/html, {len(CANARY) + 6} bytes"),
        ((404, answer(400, [(b"Content-Type", b"application/json")], body)),
         f"status 400, application/json, {len(body)} bytes: invalid_tenant (Tenant 'x' not found.)"),
    ]  # fmt: skip
    for steps, found in cases:
        assert await failure(Script(*steps)) == f"the issuer has no metadata ({found}); expected token_url"


async def test_metadata_may_be_packed_though_nobody_asked_for_that() -> None:
    packed = gzip.compress(json.dumps({"issuer": ISSUER, "token_endpoint": f"{ISSUER}/t"}).encode())
    assert await server(Script(answer(200, [(b"Content-Encoding", b"gzip")], packed))).token_url() == f"{ISSUER}/t"


@pytest.mark.parametrize(
    ("issuer", "says"),
    [("https://issuer.test/", "issuer with a slash at its end"), ("https://evil.test", "token_url"),
     (None, "token_url"), ([CANARY], "token_url"), ("HTTPS://issuer.test", "token_url")],
)  # fmt: skip
async def test_another_issuer_s_metadata_is_not_believed(issuer: Any, says: str) -> None:
    told = await failure(Script(document(issuer=issuer)))
    assert told == f"the server's metadata is another issuer's; right would be {says}"


async def test_a_slash_too_many_is_said() -> None:
    told = await failure(Script(document()), issuer=f"{ISSUER}/")
    assert told.endswith("right would be issuer without the slash at its end")


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [("http://issuer.test/t", "plain http"), (f"https://a:{CANARY}@x.test/", "holds a user or password"),
     ("https://[", "is not a URL"), (7, "has no token_endpoint"), (None, "has no token_endpoint"),
     ("/relative", "is not a URL"), ("ftp://issuer.test/", "is not a URL"), ("https:///x", "is not a URL")],
)  # fmt: skip
async def test_an_endpoint_that_no_secret_may_be_sent_to_is_not_used(endpoint: Any, says: str) -> None:
    assert says in await failure(Script(document(token_endpoint=endpoint)))


async def test_who_wants_it_may_use_plain_http() -> None:
    url = "http://x.test/t"
    assert await server(Script(document(token_endpoint=url)), insecure=True).token_url() == url
    assert "plain http" in await failure(Script(document(token_endpoint=url)))


async def test_a_redirect_is_not_followed() -> None:
    script = Script(answer(302, [(b"Location", b"https://evil.test/")]))
    assert "redirects" in await failure(script)
    assert len(script.requests) == 1


async def test_a_huge_document_is_not_read() -> None:
    assert "too large" in await failure(Script(answer(200, [], *[b" " * 65536] * (LARGEST // 65536 + 1))))


@pytest.mark.parametrize("step", [500, 429, ConnectionRefused()])
async def test_a_server_that_is_down_says_nothing_of_the_configuration(step: Any) -> None:
    with pytest.raises(TokenEndpointDown, match=r"^the server's metadata"):
        await server(Script(step)).token_url()


async def test_metadata_ages_and_the_old_will_do_while_the_server_is_down() -> None:
    clock = FakeClock()
    script = Script(document(), 500, document(token_endpoint=f"{ISSUER}/new"))
    found = server(script, clock)
    for passes, url in ((MAX_AGE, "t"), (1, "t"), (MAX_AGE, "t"), (1, "new")):
        await found.token_url()
        await clock.advance(passes)
        assert await found.token_url() == f"{ISSUER}/{url}"


async def test_a_client_with_a_certificate_is_sent_to_where_it_is_asked_for() -> None:
    aliases = {"token_endpoint": "https://mtls.test/t"}
    for client_auth, url in (("tls", "https://mtls.test/t"), ("basic", f"{ISSUER}/t")):
        script = Script(document(mtls_endpoint_aliases=aliases))
        assert await server(script, client_auth=client_auth).token_url() == url


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["issuer", "token_endpoint", "x"]), inner),
)


@given(st.dictionaries(st.sampled_from(["token_endpoint", "mtls_endpoint_aliases", "x"]), JSON))
async def test_whatever_metadata_says_is_a_url_or_an_error(members: dict[str, Any]) -> None:
    try:
        url = await server(Script(document(**members)), client_auth="tls").token_url()
    except CredentialError:
        return
    check_url("x", url, insecure=False)


async def test_metadata_that_can_not_be_had_has_cost_no_refresh_token() -> None:
    with pytest.raises(TokenEndpointDown) as caught:
        await server(Script(500)).token_url()
    assert not caught.value.sent
