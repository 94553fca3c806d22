"""The token requests of one client: every grant with every way to authenticate."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import trustme

from proxy import plugins
from proxy.errors import CredentialError, ProxyError, ReadTimeout, SecretError, TokenEndpointDown
from proxy.stores.memory import MemoryStore
from proxy.tokens import Grant, Interactive, Tokens
from proxy.tokens.clients import ClientAuthentication
from proxy.tokens.endpoint import Refused
from proxy.tokens.requests import TokenRequests
from tests.doubles import FakeClock, Script, answer, read_head
from tests.tokens.clients.test_contract import FIELDS
from tests.tokens.doubles import TOKEN_URL, private_jwk, settings

GRANTS = {grant.name: grant for grant in plugins.members("proxy.tokens", Grant)}
WAYS = {way.name: way for way in plugins.members("proxy.tokens.clients", ClientAuthentication)}
KEYS: dict[str, Any] = {
    "client_id": "app", "client_secret": "c", "key": private_jwk(), "username": "u", "password": "p",
    "refresh_token": "r0", "subject_token": "s",
}  # fmt: skip
TOKEN = {"access_token": "t", "refresh_token": "r1"}


def requests(
    grant: str = "client_credentials", way: str = "basic", script: Script | None = None, **keys: Any
) -> TokenRequests:
    tokens = Tokens(MemoryStore(), FakeClock(), script or Script())
    keys = {**KEYS, "grant": grant, "client_auth": way, **keys}
    return TokenRequests("api", settings(**keys), GRANTS[grant](), WAYS[way](), tokens)


def granting(*answers: dict[str, Any]) -> Script:
    return Script(*(answer(200, [], json.dumps(each).encode()) for each in answers or (TOKEN,)))


def form(script: Script, index: int = 0) -> dict[str, str]:
    pairs = parse_qsl(script.bodies[index].decode(), keep_blank_values=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("grant", list(GRANTS))
async def test_the_client_says_who_it_is_in_the_same_way_for_its_grant_and_on_renewal(grant: str, way: str) -> None:
    script = granting(TOKEN, TOKEN)
    made = requests(grant, way, script)
    if issubclass(GRANTS[grant], Interactive):
        with pytest.raises(CredentialError, match=r"^login needed: countersign login api$"):
            await made.fetch(None)
    else:
        assert (await made.fetch(None)).access_token == "t"
    assert (await made.fetch("r1")).refresh_token == "r1"
    renewal = form(script, -1)
    assert (renewal["grant_type"], renewal["refresh_token"]) == ("refresh_token", "r1")
    for index, request in enumerate(script.requests):
        fields, headers = FIELDS[way]
        assert fields <= form(script, index).keys()
        assert headers == {"Authorization"} & {name.title() for name in request.headers}
        assert not ({"client_secret", "client_assertion"} - fields) & form(script, index).keys()


async def test_what_it_is_for_is_said_with_the_grant_and_on_renewal() -> None:
    script = granting(TOKEN, TOKEN)
    made = requests(script=script, scope="a b", audience="x", resource="https://r", extra={"tenant": "acme"})
    await made.fetch(None)
    await made.fetch("r1")
    for index, scope in enumerate(("a b", None)):
        told = form(script, index)
        assert told.get("scope") == scope
        assert (told["audience"], told["resource"], told["tenant"]) == ("x", "https://r", "acme")


# -- the scope of a refresh ------------------------------------------------------------------------------------


def refusing(code: str) -> httpx.Response:
    return answer(400, [], json.dumps({"error": code, "error_description": "scope"}).encode())


def scopes(script: Script) -> list[str | None]:
    """The scope of each request; all of them refresh."""
    forms = [form(script, index) for index in range(len(script.requests))]
    assert {told["grant_type"] for told in forms} <= {"refresh_token"}
    return [told.get("scope") for told in forms]


def given() -> httpx.Response:
    return answer(200, [], json.dumps(TOKEN).encode())


@pytest.mark.parametrize("code", ["invalid_scope", "invalid_request"])
@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token", "client_credentials"])
async def test_a_refresh_has_no_scope_until_the_server_wants_it(grant: str, code: str) -> None:
    script = Script(given(), refusing(code), given(), given(), refusing(code), given(), given())
    made = requests(grant, script=script, scope="a b")
    first = await made.fetch("r1")
    second = await made.fetch("r1", refresh_with_scope=first.refresh_with_scope)
    third = await made.fetch("r1", refresh_with_scope=second.refresh_with_scope)
    assert scopes(script) == [None, None, "a b", "a b"]
    fourth = await made.fetch("r1", refresh_with_scope=third.refresh_with_scope)
    await made.fetch("r1", refresh_with_scope=fourth.refresh_with_scope)
    assert scopes(script)[4:] == ["a b", None, None], "a server may change its mind"


async def test_the_first_refresh_token_is_sent_in_the_same_way() -> None:
    script = Script(refusing("invalid_scope"), given())
    assert (await requests("refresh_token", script=script, scope="a").fetch(None)).refresh_with_scope
    assert scopes(script) == [None, "a"]
    script = Script(given())
    assert not (await requests("refresh_token", script=script, scope="a").fetch(None)).refresh_with_scope
    assert scopes(script) == [None]


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_client", "unauthorized_client", "access_denied", "own"])
async def test_what_another_scope_does_not_mend_is_not_sent_twice(code: str) -> None:
    script = Script(refusing(code))
    with pytest.raises(Refused, match="scope"):
        await requests(script=script, scope="a").fetch("r1")
    assert scopes(script) == [None]


@pytest.mark.parametrize("step", [500, ReadTimeout(sent=True), answer(200, [], b"<html>")])
async def test_a_refresh_token_that_may_have_been_used_is_not_sent_twice(step: Any) -> None:
    script = Script(step)
    with pytest.raises(ProxyError):
        await requests(script=script, scope="a").fetch("r1")
    assert scopes(script) == [None]


@pytest.mark.parametrize("keys", [{"refresh_scope": "omit"}, {"refresh_scope": "send"}, {"scope": ""}])
async def test_one_who_has_decided_is_obeyed(keys: dict[str, Any]) -> None:
    script = Script(given(), refusing("invalid_scope"))
    made = requests(script=script, **{"scope": "a", **keys})
    token = await made.fetch("r1")
    assert not token.refresh_with_scope
    with pytest.raises(Refused, match=r"invalid_scope \(scope\)"):
        await made.fetch("r1", refresh_with_scope=True)
    assert scopes(script) == ["a" if keys.get("refresh_scope") == "send" else None] * 2


async def test_a_scope_among_the_extra_fields_is_always_sent() -> None:
    script = Script(refusing("invalid_scope"))
    with pytest.raises(Refused):
        await requests(script=script, scope="a", extra={"scope": "b"}).fetch("r1")
    assert scopes(script) == ["b"]


async def test_when_both_ways_are_refused_the_last_one_is_told() -> None:
    script = Script(refusing("invalid_scope"), refusing("invalid_grant"))
    with pytest.raises(Refused, match="invalid_grant"):
        await requests(script=script, scope="a").fetch("r1")
    assert scopes(script) == [None, "a"]


async def test_it_is_no_part_of_what_tells_tokens_apart() -> None:
    facts = [await requests(scope="a", refresh_scope=how).facts() for how in ("auto", "omit", "send")]
    assert facts[0] == facts[1] == facts[2]


# -- what the server said ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", list(WAYS))
async def test_no_secret_of_the_configuration_is_repeated(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some are never sent: a secret that signs, a key, and what another grant would need."""
    monkeypatch.setenv("APP", "app-from-the-environment")
    secret = "a secret of 64 bytes, as HS512 wants it for the signature / of a JWT"
    body = {
        "error": "invalid_client",
        "error_description": f"app-from-the-environment, {secret}, {json.loads(private_jwk())['d']} of bob",
    }
    script = Script(answer(400, [], json.dumps(body).encode()))
    keys: dict[str, Any] = {"client_id": {"env": "APP"}, "client_secret": secret, "username": "bob"}
    with pytest.raises(Refused) as caught:
        await requests(way=way, script=script, **keys).fetch(None)
    assert caught.value.detail == "the token endpoint refused: invalid_client (***, ***, *** of bob)"


# -- more fields -----------------------------------------------------------------------------------------------


async def test_more_fields_go_before_those_of_their_name() -> None:
    script = granting()
    jwt = "urn:ietf:params:oauth:token-type:jwt"
    made = requests("token_exchange", "none", script, client_id=None, actor_token="a", extra={"actor_token_type": jwt})
    await made.fetch(None)
    told = form(script)
    assert told["actor_token_type"] == jwt
    assert "client_id" not in told


async def test_what_was_exchanged_need_not_be_an_access_token() -> None:
    assert (await requests("token_exchange", script=granting({**TOKEN, "token_type": "N_A"})).fetch(None)).access_token
    with pytest.raises(CredentialError, match="token_type that is not Bearer"):
        await requests(script=granting({**TOKEN, "token_type": "N_A"})).fetch(None)


async def test_a_refresh_token_that_was_refused_a_moment_ago_is_not_sent_again() -> None:
    refusal = answer(400, [], b'{"error": "invalid_grant", "error_description": "revoked"}')
    script = Script(refusal, answer(200, [], json.dumps(TOKEN).encode()))
    made = requests("refresh_token", script=script)
    for refresh_token in ("r0", None):
        with pytest.raises(Refused, match=r"invalid_grant \(revoked\)"):
            await made.fetch(refresh_token)
    assert len(script.requests) == 1
    await made.fetch(None)


async def test_the_endpoint_is_where_the_issuer_says() -> None:
    metadata = {"issuer": "https://issuer.test", "token_endpoint": "https://issuer.test/elsewhere"}
    script = granting(metadata, TOKEN, TOKEN)
    made = requests(script=script, issuer="https://issuer.test", token_url=None)
    await made.fetch(None)
    await made.fetch("r1")
    assert [request.url.path for request in script.requests][1:] == ["/elsewhere", "/elsewhere"]


async def test_an_issuer_that_is_down_is_an_outage() -> None:
    with pytest.raises(TokenEndpointDown):
        await requests(script=Script(500), issuer="https://issuer.test", token_url=None).fetch(None)


# -- what tells its token from others ----------------------------------------------------------------------------

OTHERS: list[dict[str, Any]] = [
    {}, {"grant": "jwt_bearer"}, {"grant": "jwt_bearer", "subject": "x"}, {"grant": "token_exchange"},
    {"grant": "token_exchange", "subject_token": "x"}, {"grant": "password"}, {"grant": "password", "username": "x"},
    {"grant": "refresh_token"}, {"grant": "refresh_token", "refresh_token": "x"}, {"client_id": "x"}, {"scope": "x"},
    {"audience": "x"}, {"resource": "x"}, {"extra": {"a": "b"}}, {"token_url": "https://other.test/"},
    {"issuer": "https://issuer.test"},
]  # fmt: skip


async def test_another_configuration_has_other_facts() -> None:
    assert len({json.dumps(await requests(**keys).facts()) for keys in OTHERS}) == len(OTHERS)


@pytest.mark.parametrize("keys", [{"client_secret": "x"}, {"way": "post"}, {"password": "x"}, {"key": "x"}])
async def test_what_only_proves_who_it_is_is_none_of_them(keys: dict[str, Any]) -> None:
    assert await requests(**keys).facts() == await requests().facts()


async def test_facts_that_can_not_be_told_are_an_error() -> None:
    with pytest.raises(SecretError, match="NOT_SET"):
        await requests(client_id={"env": "NOT_SET"}).facts()


# -- a client certificate, for real ----------------------------------------------------------------------------


@asynccontextmanager
async def mutual_tls(authority: trustme.CA, clients: trustme.CA) -> AsyncIterator[tuple[int, list[str]]]:
    """A token endpoint that wants a certificate of `clients`; yields its port and the names it was shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    names: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await read_head(reader)
            names.append(str(writer.get_extra_info("peercert")["subjectAltName"][0][1]))
            body = json.dumps(TOKEN).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], names
    finally:
        server.close()


async def test_a_client_is_known_by_its_certificate(tmp_path: Path) -> None:
    authority, clients = trustme.CA(), trustme.CA()
    certificate = clients.issue_cert("client.example.com")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    tls = {"ca": tmp_path / "ca.pem", "cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    async with mutual_tls(authority, clients) as (port, names):
        url = f"https://localhost:{port}/token"
        made = requests(way="tls", tls=tls, token_url=url)
        assert (await made.fetch(None)).access_token == "t"
        await made.aclose()
        stranger = requests(way="tls", tls={"ca": tls["ca"]}, token_url=url)
        with pytest.raises(TokenEndpointDown):
            await stranger.fetch(None)
        await stranger.aclose()
    assert names == ["client.example.com"]


async def test_closing_what_has_no_transport_of_its_own_does_nothing() -> None:
    await requests(token_url=TOKEN_URL).aclose()
