import hashlib

import httpx
import pytest

from proxy.demo import DemoServer
from proxy.demo.sight import mask, masked_query

from .doubles import BEARER, talk


async def test_the_api_tells_what_it_saw(client: httpx.AsyncClient) -> None:
    response = await client.request(
        "PATCH", "/bearer/a%2Fb?c=d", content=b"body", headers=BEARER | {"x-spelled-SO": "1"}
    )
    answer = response.json()

    assert response.text.endswith("}\n")
    assert answer["request"] == 1
    assert (answer["method"], answer["path"], answer["query"]) == ("PATCH", "/bearer/a%2Fb", "c=d")
    assert answer["headers"]["Authorization"] == "Bearer d***"
    assert answer["headers"]["x-spelled-SO"] == "1"
    assert answer["body"] == {"size": 4, "sha256": hashlib.sha256(b"body").hexdigest()}


async def test_without_a_body_there_is_none(client: httpx.AsyncClient) -> None:
    response = await client.get("/bearer/hello", headers=BEARER)

    assert response.json()["body"] is None


async def test_doubled_fields_and_odd_bytes_are_shown_as_they_came(api: DemoServer) -> None:
    head = f"GET /bearer/hello HTTP/1.1\r\nHost: a\r\nAuthorization: {BEARER['Authorization']}\r\n".encode()

    answer = await talk(api, head + b"X-A: 1\r\nx-a: \xff\r\nCookie: sid=1\r\nConnection: close\r\n\r\n")

    assert '"X-A": [\n      "1",\n      "\\\\xff"\n    ]' in answer
    assert '"Cookie": "s***"' in answer


def test_a_mask_leaves_the_scheme_and_one_character() -> None:
    assert [mask(value) for value in ("Bearer secret", "secret", "", "Basic ")] == [
        "Bearer s***",
        "s***",
        "***",
        "Basic ***",
    ]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("a=1&access_token=secret&b=2", "a=1&access_token=s***&b=2"),
        ("API_KEY=secret", "API_KEY=s***"),
        ("sig=a%20b=c", "sig=a***"),
        ("key=", "key="),
        ("", ""),
    ],
)
def test_parameters_that_sound_secret_are_masked(query: str, shown: str) -> None:
    assert masked_query(query) == shown
