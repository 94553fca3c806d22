import base64

import httpx
import pytest

from proxy.demo import accounts

from .doubles import Clock

BASIC = (accounts.CLIENT_ID, accounts.CLIENT_SECRET)
POST = {"client_id": accounts.CLIENT_ID, "client_secret": accounts.CLIENT_SECRET}


async def ask(client: httpx.AsyncClient, **form: str) -> httpx.Response:
    return await client.post("/oauth2/token", data=form, auth=BASIC)


async def hello(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/oauth2/hello", headers={"Authorization": f"Bearer {token}"})


async def test_client_credentials_buy_a_token_that_lets_in(client: httpx.AsyncClient) -> None:
    response = await ask(client, grant_type="client_credentials", scope="read write")
    answer = response.json()

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert answer.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer["token_type"], answer["expires_in"], answer["scope"]) == ("Bearer", 10, "read write")
    assert (await hello(client, answer["access_token"])).status_code == 200


async def test_the_client_may_stand_in_the_form(client: httpx.AsyncClient) -> None:
    response = await client.post("/oauth2/token", data=POST | {"grant_type": "client_credentials"})

    assert response.status_code == 200


async def test_basic_is_form_decoded(client: httpx.AsyncClient) -> None:
    encoded = base64.b64encode(b"demo%2Dclient:demo%2Dclient%2Dsecret").decode()

    response = await client.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": accounts.CLIENT_ID},
        headers={"Authorization": f"basic {encoded}"},
    )

    assert response.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer demo-bearer-token"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic " + base64.b64encode(b"demo-client:wrong").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"demo-client:%ff").decode()},
    ],
)
async def test_another_client_is_invalid(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.post("/oauth2/token", data={"grant_type": "client_credentials"}, headers=headers)

    assert response.status_code == 401
    assert response.json()["error"] == "invalid_client"
    assert response.headers["WWW-Authenticate"] == 'Basic realm="demo"'
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("form", [POST, {"client_id": "another"}])
async def test_two_ways_to_authenticate_are_refused(client: httpx.AsyncClient, form: dict[str, str]) -> None:
    response = await ask(client, grant_type="client_credentials", **form)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "implicit"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "a  b"}, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": 'a"'}, "invalid_scope"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
        (
            {"grant_type": "refresh_token", "refresh_token": accounts.REFRESH_TOKEN, "scope": "more"},
            "invalid_scope",
        ),
        ({"grant_type": "password", "username": accounts.USERNAME}, "invalid_request"),
        ({"grant_type": "password", "username": accounts.USERNAME, "password": "wrong"}, "invalid_grant"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(client: httpx.AsyncClient, form: dict[str, str], error: str) -> None:
    response = await ask(client, **form)

    assert response.status_code == 400
    assert response.json()["error"] == error
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_token_expires_as_the_clock_moves(client: httpx.AsyncClient, clock: Clock) -> None:
    token = (await ask(client, grant_type="client_credentials")).json()["access_token"]
    assert (await hello(client, token)).status_code == 200

    clock.now += 10
    response = await hello(client, token)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="demo", error="invalid_token", error_description="The access token expired."'
    )


async def test_a_token_is_revoked_after_five_uses(client: httpx.AsyncClient) -> None:
    token = (await ask(client, grant_type="client_credentials")).json()["access_token"]

    statuses = [(await hello(client, token)).status_code for _ in range(6)]

    assert statuses == [200, 200, 200, 200, 200, 401]


async def test_password_and_rotation_and_reuse(client: httpx.AsyncClient) -> None:
    response = await ask(client, grant_type="password", username=accounts.USERNAME, password=accounts.PASSWORD)
    first = response.json()
    response = await ask(client, grant_type="refresh_token", refresh_token=first["refresh_token"])
    second = response.json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await hello(client, second["access_token"])).status_code == 200

    response = await ask(client, grant_type="refresh_token", refresh_token=first["refresh_token"])

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_grant"
    response = await ask(client, grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert response.json()["error"] == "invalid_grant"
    assert (await hello(client, second["access_token"])).status_code == 401


async def test_revocation_takes_a_token_back(client: httpx.AsyncClient) -> None:
    token = (await ask(client, grant_type="client_credentials")).json()["access_token"]

    response = await client.post("/oauth2/revoke", data={"token": token}, auth=BASIC)

    assert (response.status_code, response.content) == (200, b"")
    assert (await hello(client, token)).status_code == 401


async def test_revocation_wants_the_client_and_a_token(client: httpx.AsyncClient) -> None:
    stranger = await client.post("/oauth2/revoke", data={"token": "a"})
    nothing = await client.post("/oauth2/revoke", data={"a": "b"}, auth=BASIC)
    unknown = await client.post("/oauth2/revoke", data={"token": "a"}, auth=BASIC)

    assert [stranger.status_code, nothing.status_code, unknown.status_code] == [401, 400, 200]
