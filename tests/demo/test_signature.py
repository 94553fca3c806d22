import gzip

import httpx
import pytest

from proxy.demo import DemoServer, accounts

from .doubles import Clock, signed, talk


async def test_a_right_signature_lets_in(client: httpx.AsyncClient) -> None:
    response = await client.get("/hmac/hello?a=1", headers=signed("/hmac/hello?a=1"))

    assert response.status_code == 200
    assert response.json()["authenticated"] == "HMAC-SHA256, key demo-key"


async def test_the_body_is_signed_as_it_was_sent(client: httpx.AsyncClient) -> None:
    content = gzip.compress(b"hello")
    headers = signed("/hmac/hello", method="POST", body=content) | {"Content-Encoding": "gzip"}

    response = await client.post("/hmac/hello", content=content, headers=headers)

    assert response.status_code == 200
    assert response.json()["body"]["size"] == len(content)


@pytest.mark.parametrize("target", ["/hmac/a%2Fb//c?", "/hmac/%7e?a=%20+&&a", "http://api.test/hmac/a?b"])
async def test_the_target_is_signed_byte_for_byte(api: DemoServer, target: str) -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in signed(target).items())

    answer = await talk(api, f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n")

    assert answer.startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        (signed("/hmac/other"), "X-Signature is not"),
        (signed("/hmac/hello", method="POST"), "X-Signature is not"),
        (signed("/hmac/hello", body=b"other"), "X-Signature is not"),
        (signed("/hmac/hello", secret="wrong"), "X-Signature is not"),
        (signed("/hmac/hello") | {"X-Nonce": "other"}, "X-Signature is not"),
        (signed("/hmac/hello", key_id="other"), "X-Key-Id is not"),
        (signed("/hmac/hello", timestamp=1_700_000_301), "301 s ahead of the API's clock"),
        (signed("/hmac/hello", timestamp=1_699_999_699), "301 s behind the API's clock"),
        (signed("/hmac/hello", timestamp="soon"), "X-Timestamp is not a number"),
        (signed("/hmac/hello", nonce="x" * 129), "X-Nonce is not"),
        (signed("/hmac/hello", nonce=""), "X-Nonce is not"),
    ],
)
async def test_a_refusal_says_what_differs_and_what_was_signed(
    client: httpx.AsyncClient, headers: dict[str, str], hint: str
) -> None:
    response = await client.get("/hmac/hello", headers=headers)
    answer = response.json()

    assert response.status_code == 401
    assert "WWW-Authenticate" in response.headers
    assert answer["error"] == "invalid_signature"
    assert hint in answer["hint"]
    assert answer["signed"].startswith("GET\n/hmac/hello\n" + headers["X-Timestamp"])
    right = signed("/hmac/hello", timestamp=headers["X-Timestamp"], nonce=headers["X-Nonce"])["X-Signature"]
    assert right not in response.text
    assert accounts.KEY_SECRET not in response.text


@pytest.mark.parametrize("name", ["X-Key-Id", "X-Timestamp", "X-Nonce", "X-Signature"])
async def test_every_field_is_wanted_once(client: httpx.AsyncClient, name: str) -> None:
    fields = signed("/hmac/hello")
    doubled = [*fields.items(), (name, fields[name])]
    without = [field for field in fields.items() if field[0] != name]

    hints = [(await client.get("/hmac/hello", headers=some)).json()["hint"] for some in (doubled, without)]

    assert hints == [
        f"{name} was sent 2 times; it is wanted once.",
        f"{name} was sent 0 times; it is wanted once.",
    ]


async def test_a_replayed_nonce_is_refused(client: httpx.AsyncClient, clock: Clock) -> None:
    ahead = signed("/hmac/hello", timestamp=1_700_000_300)
    assert (await client.get("/hmac/hello", headers=ahead)).status_code == 200

    clock.now += 600
    response = await client.get("/hmac/hello", headers=ahead)

    assert response.status_code == 401
    assert "used before" in response.json()["hint"]


async def test_a_nonce_is_forgotten_when_no_timestamp_can_be_as_old(client: httpx.AsyncClient, clock: Clock) -> None:
    await client.get("/hmac/hello", headers=signed("/hmac/hello"))
    clock.now += 601

    response = await client.get("/hmac/hello", headers=signed("/hmac/hello", timestamp=int(clock.now)))

    assert response.status_code == 200


async def test_a_wrong_signature_does_not_burn_the_nonce(client: httpx.AsyncClient) -> None:
    await client.get("/hmac/hello", headers=signed("/hmac/hello", secret="wrong"))

    response = await client.get("/hmac/hello", headers=signed("/hmac/hello"))

    assert response.status_code == 200
