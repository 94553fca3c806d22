import base64

import httpx
import pytest

from proxy.demo import accounts

from .doubles import BEARER


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def test_basic_lets_the_user_in(client: httpx.AsyncClient) -> None:
    response = await client.get("/basic/hello", auth=(accounts.USERNAME, accounts.PASSWORD))

    assert response.status_code == 200
    assert response.json()["authenticated"] == "HTTP Basic, user demo-user"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("demo-user:wrong"),
        basic("wrong:demo-password"),
        basic("demo-user"),
        basic("demo-üser:demo-password"),
        {"Authorization": "Basic !"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Basic"},
        BEARER,
    ],
)
async def test_basic_refuses_everybody_else(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get("/basic/hello", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="demo"'
    assert response.json()["error"] == "unauthorized"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_bearer_lets_the_token_in(client: httpx.AsyncClient, scheme: str) -> None:
    response = await client.get("/bearer/hello", headers={"Authorization": f"{scheme} {accounts.BEARER_TOKEN}"})

    assert response.status_code == 200


@pytest.mark.parametrize("headers", [{}, basic("demo-user:demo-password")])
async def test_who_brings_no_token_is_told_no_error_code(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get("/bearer/hello", headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="demo"'


async def test_a_wrong_token_is_invalid(client: httpx.AsyncClient) -> None:
    response = await client.get("/bearer/hello", headers={"Authorization": "Bearer wrong"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="demo", error="invalid_token", error_')
    assert response.json()["error"] == "invalid_token"


@pytest.mark.parametrize("value", ["Bearer", "Bearer a b", "Bearer ä"])
async def test_a_malformed_token_is_400(client: httpx.AsyncClient, value: str) -> None:
    response = await client.get("/bearer/hello", headers=[(b"Authorization", value.encode())])

    assert response.status_code == 400
    assert 'error="invalid_request"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("area", ["basic", "bearer", "oauth2"])
async def test_two_authorizations_are_one_too_many(client: httpx.AsyncClient, area: str) -> None:
    value = BEARER["Authorization"]

    response = await client.get(f"/{area}/hello", headers=[("Authorization", value), ("Authorization", value)])

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


async def test_the_static_token_is_no_access_token(client: httpx.AsyncClient) -> None:
    response = await client.get("/oauth2/hello", headers=BEARER)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == (
        'Bearer realm="demo", error="invalid_token", error_description="The access token is unknown."'
    )
