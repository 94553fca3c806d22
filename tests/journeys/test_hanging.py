"""What hangs delays its own route only: name servers, disks, files of secrets, third-party code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.gateway.body import SPOOLING
from tests.conftest import Start
from tests.doubles import raw_server, read_head
from tests.journeys.processes import Run

LARGE = b"x" * (3 << 19)  # more than is kept in memory
SOON = 10.0  # seconds in which what does not hang is served, with much to spare


@pytest.fixture
async def api() -> AsyncIterator[int]:
    """The port of an API that returns how long a body was, and of a token endpoint."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_head(reader)
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        length = int(found[1]) if found else 0
        await reader.readexactly(length)
        token = {"access_token": "token-of-this-test", "token_type": "bearer", "expires_in": 3600}
        body = json.dumps(token if head.startswith(b"POST /token ") else length).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async with raw_server(play) as port:
        yield port


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that does not answer for ``hang.…`` until the event is set."""
    gate, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if str(name).startswith("hang."):
            assert gate.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield gate
    gate.set()


def oauth2(token_url: str) -> dict[str, Any]:
    return {
        "type": "oauth2", "grant": "client_credentials", "client_id": "id", "client_secret": "client-secret",
        "token_url": token_url,
    }  # fmt: skip


def routes(port: int, **hanging: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with routes that hang, and with some that do not."""
    upstream = f"http://127.0.0.1:{port}"
    sound: dict[str, dict[str, Any]] = {
        "name": {"upstream": f"http://localhost:{port}", "credential": "none"},
        "address": {"upstream": upstream, "credential": "none"},
        "oauth": {"upstream": upstream, "credential": oauth2(f"http://localhost:{port}/token")},
    }
    quick: dict[str, Any] = {"retry": {"attempts": 1}, "insecure": True}
    return {"routes": {name: {"prefix": f"/{name}", **quick, **keys} for name, keys in (sound | hanging).items()}}


async def others_are_served(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(SOON):
        assert (await client.get("/name/")).status_code == 200
        assert (await client.post("/address/", content=LARGE)).json() == len(LARGE)
        assert (await client.get("/oauth/")).status_code == 200


def client_of(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, trust_env=False, limits=limits, timeout=60)


async def test_a_name_server(start: Start, api: int, hang: threading.Event) -> None:
    tokens = oauth2("https://hang.tokens.test/token")
    proxy = await start(
        routes(
            api,
            slow={"upstream": "https://hang.test", "credential": "none", "timeout": {"connect": 1}},
            http2={"upstream": "https://hang.two.test", "http2": True, "credential": "none", "timeout": {"connect": 1}},
            tokens={"upstream": f"http://127.0.0.1:{api}", "credential": tokens},
        )
    )
    async with client_of(proxy.url) as client:
        asking = [
            asyncio.create_task(client.get(f"/{route}/"))
            for route, times in (("slow", 30), ("http2", 2), ("tokens", 5))
            for _ in range(times)
        ]
        await asyncio.sleep(0.3)
        await others_are_served(client)
        answers = await asyncio.gather(*asking[:32])
        assert {answer.status_code for answer in answers} == {504}
        # They have given up, and their lookups still hang.
        assert sum(thread.name == "resolver" for thread in threading.enumerate()) <= 6
        await others_are_served(client)
        hang.set()
        await asyncio.gather(*asking[32:])


async def test_a_disk(start: Start, api: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, make, asked = threading.Event(), tempfile.TemporaryFile, list[None]()

    def temporary(*rest: Any, **named: Any) -> Any:
        asked.append(None)
        if len(asked) <= SPOOLING:
            assert gate.wait(60)
        return make(*rest, **named)

    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    proxy = await start(routes(api, stuck={"upstream": f"http://127.0.0.1:{api}", "credential": "none"}))
    async with client_of(proxy.url) as client:
        asking = [asyncio.create_task(client.post("/stuck/", content=LARGE)) for _ in range(20)]
        try:
            async with asyncio.timeout(SOON):
                while len(asked) < SPOOLING:
                    await asyncio.sleep(0.01)
            await others_are_served(client)
        finally:
            gate.set()
        assert {(await each).json() for each in asking} == {len(LARGE)}


async def test_a_file_of_a_secret(start: Start, api: int, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    bearer = {"type": "bearer", "token": {"file": str(pipe)}}
    proxy = await start(routes(api, stuck={"upstream": f"http://127.0.0.1:{api}", "credential": bearer}))
    async with client_of(proxy.url) as client:
        asking = [asyncio.create_task(client.get("/stuck/")) for _ in range(20)]
        await asyncio.sleep(0.3)
        await others_are_served(client)
        pipe.write_text("a-late-token\n")
        assert {(await each).status_code for each in asking} == {200}


STRANGER = """
import asyncio, threading
import httpx

class Blocking(httpx.Auth):
    def auth_flow(self, request):
        threading.Event().wait(60)
        yield request

class Resolving(httpx.Auth):
    async def async_auth_flow(self, request):
        await asyncio.get_running_loop().getaddrinfo("hang.third.test", 443)
        yield request
"""

PROGRAM = """
import socket, sys, threading
if LOOP == "asyncio":
    sys.modules["uvloop"] = None
real = socket.getaddrinfo
def getaddrinfo(host, *rest, **named):
    if str(host).startswith("hang."):
        threading.Event().wait(60)
    return real(host, *rest, **named)
socket.getaddrinfo = getaddrinfo
from proxy.__main__ import main
main()
"""

CONFIG = """
[routes.slow]
prefix = "/slow"
upstream = "https://hang.test"
credential = "none"

[routes.blocking]
prefix = "/blocking"
upstream = "http://127.0.0.1:PORT"
credential = { type = "python", class = "stranger:Blocking" }

[routes.resolving]
prefix = "/resolving"
upstream = "http://127.0.0.1:PORT"
credential = { type = "python", class = "stranger:Resolving" }

[routes.name]
prefix = "/name"
upstream = "http://localhost:PORT"
credential = "none"

[routes.address]
prefix = "/address"
upstream = "http://127.0.0.1:PORT"
credential = "none"

[routes.oauth]
prefix = "/oauth"
upstream = "http://127.0.0.1:PORT"
credential = { type = "oauth2", grant = "client_credentials", client_id = "id", client_secret = "client-secret",
token_url = "http://localhost:PORT/token" }
""".replace(",\n", ", ")


async def test_a_process_with_third_party_code(run: Run, api: int, tmp_path: Path) -> None:
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    (tmp_path / "stranger.py").write_text(STRANGER)
    config = tmp_path / "countersign.toml"
    config.write_text(CONFIG.replace("PORT", str(api)))
    config.chmod(0o600)
    program = PROGRAM.replace("LOOP", repr(loop))
    process = await run("run", "--config", str(config), "--listen", "127.0.0.1:0", program=program)
    async with client_of(f"http://127.0.0.1:{await process.port()}") as client:
        asking = [
            asyncio.create_task(client.get(f"/{route}/"))
            for route in ("slow", "blocking", "resolving")
            for _ in range(20)
        ]
        await asyncio.sleep(0.3)
        await others_are_served(client)
        for each in asking:
            each.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    process.signal(signal.SIGTERM)
    async with asyncio.timeout(SOON):
        assert await process.ends() == 0
