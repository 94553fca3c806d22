from random import Random

import httpx
import pytest

from proxy import demo
from proxy.demo import DemoServer

from .doubles import BEARER, Clock


async def test_throttled_tells_the_quota_and_refuses_the_sixth(client: httpx.AsyncClient, clock: Clock) -> None:
    responses = [await client.get("/throttled/hello", headers=BEARER) for _ in range(6)]

    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert [response.headers["RateLimit-Remaining"] for response in responses] == list("432100")
    refused = responses[-1]
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"] == "10"
    assert refused.headers["RateLimit-Limit"] == "5"
    assert refused.json()["error"] == "too_many_requests"

    clock.now += 10
    assert (await client.get("/throttled/hello", headers=BEARER)).status_code == 200


async def test_who_is_not_let_in_uses_nothing_up(client: httpx.AsyncClient) -> None:
    for _ in range(6):
        assert (await client.get("/throttled/hello")).status_code == 401

    response = await client.get("/throttled/hello", headers=BEARER)

    assert response.headers["RateLimit-Remaining"] == "4"


async def outcome(client: httpx.AsyncClient, method: str, target: str = "/flaky/hello") -> str:
    try:
        return str((await client.request(method, target, headers=BEARER)).status_code)
    except httpx.RemoteProtocolError as error:
        return str(error)


async def test_flaky_fails_in_two_ways_but_never_thrice_in_a_row(client: httpx.AsyncClient) -> None:
    seen = [await outcome(client, "GET") for _ in range(60)]

    assert set(seen) == {"200", "503", "Server disconnected without sending a response."}
    failed = "".join("." if one == "200" else "F" for one in seen)
    assert "FF" in failed
    assert "FFF" not in failed


async def test_flaky_serves_what_may_not_be_repeated(client: httpx.AsyncClient) -> None:
    assert [await outcome(client, "POST") for _ in range(20)] == ["200"] * 20


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_flaky_fails_for_all_idempotent_methods(client: httpx.AsyncClient, method: str) -> None:
    assert len({await outcome(client, method) for _ in range(20)}) > 1


async def test_flaky_is_the_same_for_the_same_seed(api: DemoServer, client: httpx.AsyncClient) -> None:
    async with (
        await demo.start(random=Random(1)) as twin,
        httpx.AsyncClient(base_url=twin.url, trust_env=False, verify=False) as other,
    ):
        assert [await outcome(client, "GET") for _ in range(20)] == [await outcome(other, "GET") for _ in range(20)]
