import httpx
import pytest

from proxy.demo import DemoServer

from .doubles import BEARER, talk


async def test_the_index_says_what_there_is(client: httpx.AsyncClient) -> None:
    response = await client.get("/")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert list(response.json()["areas"]) == [
        f"/{name}/hello" for name in ("basic", "bearer", "oauth2", "hmac", "throttled", "flaky", "events")
    ]


@pytest.mark.parametrize("target", ["/nowhere", "/bearers/hello", "/%62earer/hello", "//bearer/hello"])
async def test_anything_else_is_404(api: DemoServer, target: str) -> None:
    answer = await talk(api, f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert answer.startswith("HTTP/1.1 404 ")
    assert '"error": "not_found"' in answer


async def test_options_for_the_server_itself_is_404_in_json_too(api: DemoServer) -> None:
    answer = await talk(api, "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    assert answer.startswith("HTTP/1.1 404 ")
    assert '"error": "not_found"' in answer


@pytest.mark.parametrize("target", ["/bearer", "/bearer/", "/bearer?a", "/bearer/a/../b"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "PURGE"])
async def test_every_path_and_method_below_an_area_is_served(api: DemoServer, method: str, target: str) -> None:
    answer = await talk(
        api,
        f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Authorization: {BEARER['Authorization']}\r\n\r\n",
    )

    assert answer.startswith("HTTP/1.1 200 ")
    assert f'"method": "{method}"' in answer


async def test_head_is_answered_without_a_body(client: httpx.AsyncClient) -> None:
    response = await client.head("/bearer/hello", headers=BEARER)

    assert (response.status_code, response.content) == (200, b"")


async def test_requests_are_numbered(client: httpx.AsyncClient) -> None:
    await client.get("/nowhere")

    response = await client.get("/bearer/hello", headers=BEARER)

    assert response.json()["request"] == 2
