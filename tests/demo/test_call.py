import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator

import httpx

from proxy.demo import DemoServer

from .doubles import BEARER, talk

AUTHORIZATION = f"Authorization: {BEARER['Authorization']}\r\n"


async def test_a_gzip_body_is_hashed_as_it_was_sent(client: httpx.AsyncClient) -> None:
    content = gzip.compress(b"hello " * 1000)

    response = await client.post("/bearer/hello", content=content, headers=BEARER | {"Content-Encoding": "gzip"})

    assert response.json()["body"] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


async def test_a_large_chunked_body_is_hashed_as_it_streams(client: httpx.AsyncClient) -> None:
    piece = b"x" * 65536

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield piece

    response = await client.put("/bearer/large", content=pieces(), headers=BEARER)

    assert response.json()["body"] == {
        "size": 256 * 65536,
        "sha256": hashlib.sha256(piece * 256).hexdigest(),
    }


async def test_the_body_is_asked_for_once_it_is_wanted(api: DemoServer) -> None:
    reader, writer = await asyncio.open_connection(api.host, api.port)
    head = f"POST /bearer/hello HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}Connection: close\r\n"
    writer.write(f"{head}Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n".encode())

    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"

    writer.write(b"ab")
    assert b'"size": 2' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_a_refused_caller_is_not_asked_for_the_body(api: DemoServer) -> None:
    reader, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(b"POST /bearer/hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")

    head = await reader.readuntil(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nConnection: close\r\n" in head
    writer.close()
    await writer.wait_closed()


async def test_http_1_0_is_never_sent_a_100(api: DemoServer) -> None:
    head = f"POST /bearer/hello HTTP/1.0\r\nHost: a\r\n{AUTHORIZATION}"

    answer = await talk(api, f"{head}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab")

    assert answer.startswith("HTTP/1.0 200 ")


async def test_another_expectation_is_417(api: DemoServer) -> None:
    answer = await talk(api, "GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n")

    assert answer.startswith("HTTP/1.1 417 ")
    assert '"error": "expectation_failed"' in answer


async def test_an_absolute_target_is_taken_as_its_path(api: DemoServer) -> None:
    answer = await talk(
        api, f"GET http://api.test/bearer/a?b HTTP/1.1\r\nHost: a\r\n{AUTHORIZATION}Connection: close\r\n\r\n"
    )

    assert '"path": "/bearer/a",\n  "query": "b"' in answer
