"""Authlib's server side judges the grants, with every way to authenticate, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from proxy.errors import CredentialError
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from proxy.tokens.authorization import Authorization
from proxy.tokens.device import DeviceLogin
from proxy.tokens.endpoint import Refused
from proxy.tokens.requests import TokenRequests
from proxy.tokens.settings import ClientSettings
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.authority import CLIENTS, KEY, PASSWORD, USER, Authority, authority, table
from tests.doubles import HurriedClock
from tests.tokens.test_requests import GRANTS, WAYS

GRANT_KEYS: dict[str, dict[str, Any]] = {
    "client_credentials": {"scope": "read"},
    "password": {"username": USER, "password": PASSWORD},
    "jwt_bearer": {"key": KEY.private_jwk(), "subject": USER},
}


@pytest.fixture(scope="module")
def running() -> Iterator[Authority]:
    with authority() as server:
        yield server


@pytest.fixture
def server(running: Authority) -> Authority:
    running.user_says, running.slow_downs, running.drops = True, 0, set()
    running.forms.clear()
    return running


@pytest.fixture
async def transport() -> AsyncIterator[StockTransport]:
    made = StockTransport(context)
    yield made
    await made.aclose()


def requests(transport: StockTransport, credential: dict[str, Any], clock: Any = None) -> TokenRequests:
    keys = {key: value for key, value in credential.items() if key != "type"}
    settings = ClientSettings.model_validate(keys)
    tokens = Tokens(MemoryStore(), clock or RealTime(), transport)
    return TokenRequests("api", settings, GRANTS[settings.grant](), WAYS[settings.client_auth](), tokens)


class RealTime(HurriedClock):
    """Whose now is now, since the other side checks it; its sleep takes no time."""

    def __init__(self) -> None:
        import time

        super().__init__(time.time())


async def call(server: Authority, access_token: str) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{server.url}/api", headers={"Authorization": f"Bearer {access_token}"})
        return answer.json()["user"] if answer.status_code == 200 else answer.status_code


@pytest.mark.parametrize("way", list(CLIENTS))
@pytest.mark.parametrize("grant", list(GRANT_KEYS))
async def test_a_token_without_a_user_at_hand(
    server: Authority, transport: StockTransport, grant: str, way: str
) -> None:
    made = requests(transport, table(server, grant, way, **GRANT_KEYS[grant]))
    token = await made.fetch(None)
    assert await call(server, token.access_token) == (None if grant == "client_credentials" else USER)
    if token.refresh_token is not None:
        renewed = await made.fetch(token.refresh_token)
        assert await call(server, renewed.access_token) == USER
        assert await call(server, token.access_token) == 401


async def redirect(url: str) -> httpx.URL:
    """Where a browser is sent."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        return httpx.URL(answer.headers["location"])


@pytest.mark.parametrize("way", list(CLIENTS))
async def test_a_login_in_a_browser(server: Authority, transport: StockTransport, way: str) -> None:
    made = requests(transport, table(server, "authorization_code", way, scope=["read", "write"]))
    authorization = await Authorization.begin(made, "http://127.0.0.1:1/callback")
    sent_to = await redirect(await authorization.url())
    code = authorization.code(sent_to.query.decode())
    token = await authorization.token(code)
    assert (await call(server, token.access_token), token.scope) == (USER, "read write")
    renewed = await made.fetch(token.refresh_token)
    assert await call(server, renewed.access_token) == USER
    with pytest.raises(Refused, match="invalid_grant"):
        await authorization.token(code)


@pytest.mark.parametrize("grant", ["authorization_code", "refresh_token"])
async def test_a_server_that_grants_less_than_was_asked_for(
    server: Authority, transport: StockTransport, grant: str
) -> None:
    server.drops = {"offline_access"}
    keys: dict[str, Any] = {"scope": "read offline_access"}
    login = requests(transport, table(server, "authorization_code", "none", **keys))
    authorization = await Authorization.begin(login, "http://127.0.0.1:1/callback")
    first = await authorization.token(authorization.code((await redirect(await authorization.url())).query.decode()))
    assert (first.scope, first.refresh_token is None) == ("read", False)
    if grant == "refresh_token":
        keys["refresh_token"] = first.refresh_token
    made = requests(transport, table(server, grant, "none", refresh_scope="send", **keys))
    given = first.refresh_token if grant == "authorization_code" else None
    with pytest.raises(Refused, match=r"invalid_scope \(.+\)"):
        await made.fetch(given)
    made = requests(transport, table(server, grant, "none", **keys))
    renewed = await made.fetch(given)
    assert await call(server, renewed.access_token) == USER
    assert (renewed.scope, renewed.refresh_with_scope) == ("read", False)


async def test_a_code_is_worth_nothing_without_its_verifier(server: Authority, transport: StockTransport) -> None:
    made = requests(transport, table(server, "authorization_code", "none"))
    victim = await Authorization.begin(made, "http://127.0.0.1:1/callback")
    code = victim.code((await redirect(await victim.url())).query.decode())
    thief = await Authorization.begin(made, "http://127.0.0.1:1/callback")
    with pytest.raises(Refused, match="invalid_grant"):
        await thief.token(code)


async def test_a_user_who_says_no(server: Authority, transport: StockTransport) -> None:
    server.user_says = False
    made = requests(transport, table(server, "authorization_code", "none"))
    authorization = await Authorization.begin(made, "http://127.0.0.1:1/callback")
    sent_to = await redirect(await authorization.url())
    assert "iss" in sent_to.params
    with pytest.raises(CredentialError, match="refused: access_denied"):
        authorization.code(sent_to.query.decode())


@pytest.mark.parametrize("way", list(CLIENTS))
async def test_a_login_on_another_device(server: Authority, transport: StockTransport, way: str) -> None:
    clock = RealTime()
    made = requests(transport, table(server, "device_code", way, scope="read"), clock)
    device = await DeviceLogin.begin(made)
    assert device.url == f"{server.url}/activate"
    assert device.complete_url == f"{device.url}?user_code={device.user_code}"
    server.slow_downs = 2
    token = await device.token(clock)
    assert (await call(server, token.access_token), token.scope) == (USER, "read")
    assert clock.slept == [5, 10, 15]


async def test_a_user_who_says_no_there(server: Authority, transport: StockTransport) -> None:
    server.user_says = False
    clock = RealTime()
    device = await DeviceLogin.begin(requests(transport, table(server, "device_code", "none"), clock))
    with pytest.raises(Refused, match="refused: access_denied"):
        await device.token(clock)


async def test_a_user_who_never_says_anything(server: Authority, transport: StockTransport) -> None:
    server.user_says = None
    clock = RealTime()
    device = await DeviceLogin.begin(requests(transport, table(server, "device_code", "none"), clock))
    with pytest.raises(CredentialError, match="has expired"):
        await device.token(clock)
    assert sum(clock.slept) <= device.life


# -- what it refuses -------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "wrong secret": ({"client_secret": "wrong"}, "invalid_client"),
    "unknown client": ({"client_id": "stranger"}, "invalid_client"),
    # The standard has invalid_grant; this is Authlib's way.
    "wrong password": ({"grant": "password", "username": USER, "password": "wrong"}, "invalid_request"),
    "wrong refresh token": ({"grant": "refresh_token", "refresh_token": "wrong"}, "invalid_grant"),
    "key of another": ({"client_id": "private_key_jwt", "client_auth": "private_key_jwt",
                        "key": type(KEY).generate().private_jwk()}, "invalid_client"),
    "assertion for another": ({"client_id": "private_key_jwt", "client_auth": "private_key_jwt",
                               "key": KEY.private_jwk(), "claims": {"aud": "https://other.test"}}, "invalid_client"),
    "secret of another": ({"client_id": "client_secret_jwt", "client_auth": "client_secret_jwt",
                           "client_secret": "wrong"}, "invalid_client"),
    "user unknown": ({"grant": "jwt_bearer", "key": KEY.private_jwk(), "subject": "x"}, "invalid_grant"),
    "grant of another key": ({"grant": "jwt_bearer", "key": type(KEY).generate().private_jwk(), "subject": USER},
                             "invalid_grant"),
    "grant too old": ({"grant": "jwt_bearer", "key": KEY.private_jwk(), "subject": USER, "claims": {"exp": 1}},
                      "invalid_grant"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
async def test_what_it_refuses_is_told_by_its_code(server: Authority, transport: StockTransport, name: str) -> None:
    keys, code = REFUSED[name]
    made = requests(transport, {**table(server, "client_credentials"), **keys})
    with pytest.raises(Refused) as caught:
        await made.fetch(None)
    assert caught.value.code == code
