"""Where a credential looks at bodies, the upstream is asked only for encodings that can be read."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.doubles import raw_server, read_head

EXPIRED = json.dumps({"error": "token_expired"}).encode()
UNAUTHORIZED = {"status": [403], "body": "token_expired"}


class Api:
    """An API and its token endpoint: it compresses as the client wants, and br best of all.

    Attributes:
        accepted: the Accept-Encoding of each request to the API, None where there was none.
        renewed: is called when the first token has been refused.

    """

    def __init__(self) -> None:
        self.tokens = 0
        self.accepted: list[str | None] = []
        self.renewed: Callable[[], object] = lambda: None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await read_head(reader)).decode()
            fields = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines()[1:])
            }
            await reader.readexactly(int(fields.get("content-length", "0")))
            if head.split(" ")[1].startswith("/token"):
                self.tokens += 1
                token = {"access_token": f"t{self.tokens}", "token_type": "Bearer", "expires_in": 3600}
                self._answer(writer, 200, json.dumps(token).encode(), fields)
                continue
            self.accepted.append(fields.get("accept-encoding"))
            good = fields.get("authorization", "").endswith("t2")
            if not good:
                self.renewed()
            self._answer(writer, 200 if good else 403, b"{}" if good else EXPIRED, fields)

    def _answer(self, writer: asyncio.StreamWriter, status: int, body: bytes, fields: dict[str, str]) -> None:
        coding = "identity"
        accepted = fields.get("accept-encoding", "br")
        if "br" in accepted:
            coding, body = "br", b"\x00" + body[::-1]  # what nobody here can read
        elif "deflate" in accepted:
            coding, body = "deflate", zlib.compress(body)
        head = f"HTTP/1.1 {status} X\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Api, int]]:
    api = Api()
    async with raw_server(api) as port:
        yield api, port


def oauth2(port: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"http://127.0.0.1:{port}/token",
        "client_id": "i", "client_secret": "s", **more,
    }  # fmt: skip


def credentials(kind: str, port: int, path: Path) -> dict[str, Any]:
    """The table of credentials, of which `c` is the route's."""
    file = {"type": "bearer", "token": {"file": str(path)}}
    login = {"url": f"http://127.0.0.1:{port}/token", "json": {"user": "u"}, "headers": {"Accept-Encoding": "br"}}
    tables: dict[str, dict[str, Any]] = {
        "oauth2": {"c": oauth2(port, unauthorized=UNAUTHORIZED)},
        "session": {"c": {"type": "session", "login": login, "token": "access_token", "unauthorized": UNAUTHORIZED}},
        "bearer": {"c": {**file, "unauthorized": UNAUTHORIZED}},
        "a choice": {"c": {"type": "fallback", "credentials": ["a", "b"], "unauthorized": UNAUTHORIZED},
                     "a": {"type": "bearer", "token": "t1"}, "b": {"type": "bearer", "token": "t2"}},
        "a member": {"c": {"type": "rotate", "credentials": ["a", "b"]},
                     "a": oauth2(port, unauthorized=UNAUTHORIZED), "b": {"type": "none"}},
        "python": {"c": {"type": "python", "class": "tests.credentials.strangers:Expiring"}},
    }  # fmt: skip
    return tables[kind]


@pytest.mark.parametrize("accept", ["gzip;q=0.3, deflate, br, zstd", "br", "*", None])
@pytest.mark.parametrize("kind", ["oauth2", "session", "bearer", "a choice", "a member", "python"])
async def test_a_token_is_renewed_whatever_the_client_can_decode(
    start: Start, tmp_path: Path, kind: str, accept: str | None
) -> None:
    path = tmp_path / "token"
    path.write_text("t1")
    async with serving() as (api, port):
        api.renewed = lambda: path.write_text("t2")
        route = {"upstream": f"http://127.0.0.1:{port}", "credential": "c"}
        proxy = await start({"routes": {"a": route}, "credentials": credentials(kind, port, path)})
        async with httpx.AsyncClient() as client:
            client.headers.pop("Accept-Encoding")
            response = await client.get(f"{proxy.url}/x", headers={"Accept-Encoding": accept} if accept else {})
        assert response.status_code == 200
        asked = {"gzip;q=0.3, deflate, br, zstd": "gzip;q=0.3, deflate", "*": "gzip, deflate"}
        assert api.accepted == [asked.get(accept or "", "identity")] * 2


async def test_where_no_body_is_looked_at_the_clients_field_goes_on(start: Start) -> None:
    async with serving() as (api, port):
        route = {"upstream": f"http://127.0.0.1:{port}", "credential": oauth2(port)}
        proxy = await start({"routes": {"a": route}})
        sent = {"Accept-Encoding": "br, zstd"}
        async with httpx.AsyncClient() as client, client.stream("GET", f"{proxy.url}/x", headers=sent) as response:
            assert response.headers["Content-Encoding"] == "br"
        assert api.accepted == ["br, zstd"]


async def test_a_client_with_its_own_credential_gets_what_it_asks_for(start: Start) -> None:
    async with serving() as (api, port):
        route = {
            "upstream": f"http://127.0.0.1:{port}", "client_authorization": "keep",
            "credential": oauth2(port, unauthorized=UNAUTHORIZED), "request_headers": {"remove": ["X-A"]},
        }  # fmt: skip
        proxy = await start({"routes": {"a": route}})
        own = {"Accept-Encoding": "br", "Authorization": "Bearer own"}
        async with httpx.AsyncClient() as client, client.stream("GET", f"{proxy.url}/x", headers=own) as response:
            assert response.status_code == 403
        assert api.accepted == ["br"]


async def test_what_the_route_sets_is_limited_as_well(start: Start) -> None:
    async with serving() as (api, port):
        route = {
            "upstream": f"http://127.0.0.1:{port}", "credential": oauth2(port, unauthorized=UNAUTHORIZED),
            "request_headers": {"set": {"Accept-Encoding": "br, gzip"}},
        }  # fmt: skip
        proxy = await start({"routes": {"a": route}})
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{proxy.url}/x")).status_code == 200
        assert api.accepted == ["gzip"] * 2
