"""Digest and a body that can be sent only once: the challenge is had first, and the body is sent once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from urllib.request import parse_http_list, parse_keqv_list

import httpx
import pytest

from tests.conftest import Start
from tests.doubles import raw_server, read_head

SIZE = 3 << 20
CHALLENGE = (
    b'WWW-Authenticate: Basic realm="x", Digest realm="api", nonce="other", algorithm=SHA-999, '
    b'Digest realm="api", nonce="n%d", algorithm=SHA-256, qop="auth"\r\n'
)


class Api:
    """An API that reads each body to its end before it refuses; each nonce is good for one request.

    Attributes:
        sizes: of the bodies that came.

    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = (await read_head(reader)).decode()
            fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
            if "Transfer-Encoding" in fields:
                body = await self._chunks(reader)
            else:
                body = await reader.readexactly(int(fields.get("Content-Length", "0")))
            self.sizes.append(len(body))
            if self._is_right(fields.get("Authorization", ""), head):
                said = hashlib.sha256(body).hexdigest().encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
            else:
                refusal = b"HTTP/1.1 401 Unauthorized\r\n%bContent-Length: 2\r\n\r\nno"
                writer.write(refusal % (CHALLENGE % len(self.sizes)))

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return body

    def _is_right(self, authorization: str, head: str) -> bool:
        scheme, _, rest = authorization.partition(" ")
        if scheme != "Digest":
            return False
        said = parse_keqv_list(parse_http_list(rest))

        def h(text: str) -> str:
            return hashlib.sha256(text.encode()).hexdigest()

        method, target, _ = head.split(" ", 2)
        middle = [said["nonce"], said["nc"], said["cnonce"], said["qop"]]
        wanted = h(":".join([h("u:api:p"), *middle, h(f"{method}:{target}")]))
        return said["nonce"] == f"n{len(self.sizes) - 1}" and said["response"] == wanted


async def pieces() -> AsyncIterator[bytes]:
    for _ in range(SIZE >> 16):
        yield b"x" * (1 << 16)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_large_upload_is_sent_once(start: Start, framing: str, method: str) -> None:
    api = Api()
    async with raw_server(api) as port:
        credential = {"type": "digest", "username": "u", "password": "p"}
        route = {"upstream": f"http://127.0.0.1:{port}", "credential": credential}
        limits = {"replay_memory": "64KiB", "replay_disk": 0}
        proxy = await start({"routes": {"a": route}, "limits": limits})
        headers = {"Content-Length": str(SIZE)} if framing == "length" else {}
        async with httpx.AsyncClient(timeout=60) as client:
            response = await client.request(method, f"{proxy.url}/x?a=b", content=pieces(), headers=headers)
        assert response.status_code == 200
        assert response.text == hashlib.sha256(b"x" * SIZE).hexdigest()
        assert (api.sizes, api.connections) == ([0, SIZE], 1)
