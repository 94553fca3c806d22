"""A wrong authority, and TLS to what does not speak it: one attempt, and a message that says what to change."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.conftest import Start
from tests.doubles import raw_server

NO_TLS = "does not speak TLS; expected http://"
CA = "expected tls = { ca = 'FILE' }"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "a" * 22,
}


class Plain:
    """A plain HTTP server: it refuses whatever comes."""

    def __init__(self) -> None:
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()


@asynccontextmanager
async def tls_server(authority: trustme.CA) -> AsyncIterator[int]:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(refuse, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def refusal(start: Start, route: dict[str, Any], **headers: str) -> dict[str, Any]:
    """The body of the proxy's own response; it must not be the last of several attempts."""
    proxy = await start({"routes": {"a": route}, "retry": {"backoff": 0.01}})
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{proxy.url}/x", headers=headers)
    assert response.status_code in (502, 503)
    assert "attempts" not in response.headers["Proxy-Status"]
    assert response.headers["Proxy-Status"].count("?") == 0
    found: dict[str, Any] = json.loads(response.content)
    return found


def upstream(port: int, **more: Any) -> dict[str, Any]:
    return {"upstream": f"https://localhost:{port}", **more}


@pytest.mark.parametrize("headers", [{}, UPGRADE], ids=["", "websocket"])
@pytest.mark.parametrize("http2", [False, True])
async def test_tls_to_a_plain_upstream_is_tried_once(start: Start, headers: dict[str, str], *, http2: bool) -> None:
    play = Plain()
    async with raw_server(play) as port:
        found = await refusal(start, upstream(port, http2=http2), **headers)
    assert f"localhost:{port} {NO_TLS}" in found["detail"]
    assert (found["status"], play.connections) == (502, 1)


async def test_an_upstream_without_http_2_is_tried_once(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with tls_server(authority) as port:
        found = await refusal(start, upstream(port, http2=True, tls={"ca": str(tmp_path / "ca.pem")}))
    assert "does not speak HTTP/2; expected http2 = false" in found["detail"]


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("wrong", [False, True], ids=["missing", "wrong"])
async def test_an_unknown_authority_names_the_key(start: Start, tmp_path: Path, *, wrong: bool, http2: bool) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    tls = {"tls": {"ca": str(tmp_path / "other.pem")}} if wrong else {}
    async with tls_server(trustme.CA()) as port:
        found = await refusal(start, upstream(port, http2=http2, **tls))
    assert f"localhost:{port}: " in found["detail"]
    assert CA in found["detail"]


@pytest.mark.parametrize("wrong", [False, True], ids=["missing", "wrong"])
async def test_so_does_that_of_a_token_endpoint(start: Start, tmp_path: Path, *, wrong: bool) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    tls = {"tls": {"ca": str(tmp_path / "other.pem")}} if wrong else {}
    async with tls_server(trustme.CA()) as port:
        found = await refusal(start, with_token_of(port, **tls))
    assert "the token endpoint: localhost:" in found["detail"]
    assert CA in found["detail"]


async def test_and_a_plain_token_endpoint_is_told(start: Start) -> None:
    play = Plain()
    async with raw_server(play) as port:
        found = await refusal(start, with_token_of(port))
    assert f"the token endpoint: localhost:{port} {NO_TLS}" in found["detail"]
    assert play.connections == 1


def with_token_of(port: int, **more: Any) -> dict[str, Any]:
    credential = {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"https://localhost:{port}/token",
        "client_id": "i", "client_secret": "s", **more,
    }  # fmt: skip
    return {"upstream": "http://127.0.0.1:9", "credential": credential}


async def test_tls_behind_an_outgoing_proxy_to_a_plain_upstream_is_tried_once(start: Start) -> None:
    play = Plain()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await play(reader, writer)

    async with raw_server(proxy) as port:
        found = await refusal(start, {"upstream": "https://api.test", "proxy": f"http://127.0.0.1:{port}"})
    assert f"api.test:443 {NO_TLS}" in found["detail"]
    assert play.connections == 1


async def test_plain_http_to_a_port_that_speaks_tls_says_so(start: Start) -> None:
    async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")

    async with raw_server(alert) as port:
        found = await refusal(start, {"upstream": f"http://127.0.0.1:{port}"})
    assert "the upstream speaks TLS; expected https://" in found["detail"]
