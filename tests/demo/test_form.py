import httpx
import pytest

from proxy.demo.form import decode

CLIENT = "client_id=demo-client&client_secret=demo-client-secret"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("endpoint", ["/oauth2/token", "/oauth2/revoke"])
async def test_other_methods_are_405(client: httpx.AsyncClient, endpoint: str) -> None:
    response = await client.get(endpoint)

    assert response.status_code == 405
    assert response.headers["Allow"] == "POST"
    assert response.headers["Cache-Control"] == "no-store"


async def test_json_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/oauth2/token", json={"grant_type": "client_credentials"})

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"
    assert response.json()["hint"] == response.json()["error_description"]


@pytest.mark.parametrize(
    "content",
    [
        b"grant_type=password&grant_type=client_credentials",
        b"grant_type=&grant_type=client_credentials",
        b"grant_type=%ff",
        b"grant_type=\xff",
        b"grant_type=\xc3\xa4",
    ],
)
async def test_what_is_no_form_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    response = await client.post("/oauth2/token", content=content, headers=FORM)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


async def test_a_parameter_without_a_value_counts_as_not_sent(client: httpx.AsyncClient) -> None:
    response = await client.post("/oauth2/token", content=f"grant_type=&{CLIENT}", headers=FORM)

    assert response.json()["error_description"] == "The parameter grant_type is missing."


async def test_a_charset_beside_the_media_type_is_fine(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/oauth2/token",
        content=f"grant_type=client_credentials&{CLIENT}",
        headers={"Content-Type": FORM["Content-Type"] + "; charset=UTF-8"},
    )

    assert response.status_code == 200


async def test_a_huge_form_is_413(client: httpx.AsyncClient) -> None:
    response = await client.post("/oauth2/token", content=b"a" * 70_000, headers=FORM)

    assert response.status_code == 413


def test_decoding_is_that_of_forms() -> None:
    assert decode("a+b%2B%C3%A4") == "a b+ä"
