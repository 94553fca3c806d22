import shlex
from typing import Any
from urllib.parse import urlsplit

import httpx

from proxy import demo
from proxy.demo import DemoServer

from .doubles import signed


def settings(url: str) -> Any:  # a parsed TOML file
    return demo.settings(url)


def test_each_route_leads_to_its_area_with_a_credential_that_exists() -> None:
    parsed = settings("http://127.0.0.1:1/")

    assert list(parsed["routes"]) == ["basic", "bearer", "oauth2", "hmac", "throttled", "flaky", "events"]
    for name, route in parsed["routes"].items():
        assert route["prefix"] == f"/{name}"
        assert route["upstream"] == f"http://127.0.0.1:1/{name}"
        assert route["credential"] in parsed["credentials"]
    assert parsed["tokens"] == {"store": "memory"}


def test_the_signature_is_described_as_the_api_checks_it() -> None:
    hmac = settings("http://a")["credentials"]["hmac"]
    values = {"method": "GET", "target": "/t", "timestamp": 1, "nonce": "n", "body_hash": "h"}

    assert hmac["string_to_sign"].format(**values) == "GET\n/t\n1\nn\nh"
    assert hmac["headers"].keys() == signed("/t").keys()


async def test_the_credentials_are_those_that_the_api_wants(api: DemoServer, client: httpx.AsyncClient) -> None:
    credentials = settings(api.url)["credentials"]
    basic, bearer, oauth2 = credentials["basic"], credentials["bearer"], credentials["oauth2"]

    responses = [
        await client.get("/basic/hello", auth=(basic["username"], basic["password"])),
        await client.get("/bearer/hello", headers={"Authorization": f"Bearer {bearer['token']}"}),
        await client.post(
            oauth2["token_url"],
            data={"grant_type": oauth2["grant"]},
            auth=(oauth2["client_id"], oauth2["client_secret"]),
        ),
    ]

    assert [response.status_code for response in responses] == [200, 200, 200]


def test_each_command_is_a_curl_of_a_route() -> None:
    routes = settings("http://a")["routes"]
    called = set()

    for shows, command in demo.curl_lines("http://127.0.0.1:8080/"):
        program, *_, url = shlex.split(command)
        assert (program, urlsplit(url).netloc) == ("curl", "127.0.0.1:8080")
        assert shows
        called.add(urlsplit(url).path.split("/")[1])

    assert called == routes.keys()
