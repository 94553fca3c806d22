"""Upstreams of other kinds than plain TCP: HTTP/2, and unix sockets."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.clock import Clock
from tests.conftest import Start
from tests.doubles import HurriedClock
from tests.http2 import Application, Receive, Scope, Send, answer, body_of, http2_server
from tests.journeys.conftest import BEARER, HEAD, TOKEN, Build, House
from tests.journeys.test_renewal import Accounts, accounts
from tests.journeys.test_streaming import FRAME, HANDSHAKE
from tests.journeys.wires import Api

__all__ = ["accounts"]  # a fixture

Http2 = Callable[..., Awaitable[House]]


@pytest.fixture
async def servers() -> AsyncIterator[AsyncExitStack]:
    """What ends after the proxies: a server waits for those who are connected."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def http2(servers: AsyncExitStack, start: Start, tmp_path: Path) -> Http2:
    """Build houses before an application that speaks HTTP/2: ``await http2(application, **route)``."""

    async def built(application: Application, clock: Clock | None = None, **route: Any) -> House:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        leaf = authority.issue_cert("localhost")
        port = await servers.enter_async_context(http2_server(application, tmp_path, leaf))
        api = {"upstream": f"https://localhost:{port}/v1", "tls": {"ca": str(tmp_path / "ca.pem")}, "http2": True}
        house = House(await start({"routes": {"api": {**api, "credential": BEARER, **route}}}, clock=clock))
        servers.push_async_callback(house.aclose)
        return house

    return built


def sent(scope: Scope, name: bytes) -> bytes:
    return b", ".join(value for key, value in scope["headers"] if key == name)


# -- HTTP/2 --------------------------------------------------------------------------------------------


async def test_a_request_and_its_answer_over_http2(http2: Http2) -> None:
    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(receive)
        told = [scope["http_version"].encode(), scope["raw_path"], scope["query_string"], body]
        await answer(send, 201, b"|".join([*told, sent(scope, b"authorization")]), (b"x-theirs", b"yes"))

    house = await http2(api)
    client = await house.connect()
    for body in (b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"):
        await client.send(b"POST /a%2Fb?c=%20 HTTP/1.1\r\nHost: localhost\r\n" + body)
        seen = await client.answer()
        assert (seen.status, seen.get("X-Theirs")) == (201, b"yes")
        assert seen.body == b"2|/v1/a%2Fb|c=%20|hello|Bearer " + TOKEN.encode()


@pytest.mark.parametrize("method", ["LIST", "VERSION-CONTROL", "a!b", "get"])
async def test_any_method_is_sent_on_over_http2(http2: Http2, method: str) -> None:
    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, 200, scope["method"].encode() + b" " + await body_of(receive))

    house = await http2(api)
    client = await house.connect()
    head = f"{method} /a HTTP/1.1\r\nHost: localhost\r\n".encode()
    for body, got in ((b"\r\n", b""), (b"Content-Length: 2\r\n\r\nhi", b"hi")):
        await client.send(head + body)
        seen = await client.answer()
        assert (seen.status, seen.body.lower()) == (200, method.lower().encode() + b" " + got)


async def test_events_over_http2_come_one_by_one(http2: Http2) -> None:
    go = asyncio.Event()

    async def api(_: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for _number in range(3):
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            await go.wait()
            go.clear()
        await send({"type": "http.response.body", "body": b""})

    house = await http2(api)
    client = await house.connect()
    await client.send(HEAD)
    await client.until(b"\r\n\r\n")
    for _ in range(3):
        assert b"data: x\n\n" in await client.until(b"data: x\n\n\r\n")
        go.set()
    assert await client.until(b"0\r\n\r\n") == b"0\r\n\r\n"


async def test_who_leaves_a_stream_over_http2_ends_it_upstream(http2: Http2) -> None:
    gone = asyncio.Event()

    async def api(_: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        gone.set()

    house = await http2(api)
    client = await house.connect()
    await client.send(HEAD)
    await client.until(b"x")
    client.close()
    async with asyncio.timeout(2):
        await gone.wait()


async def test_a_dead_token_is_renewed_and_the_body_sent_again_over_http2(http2: Http2, accounts: Accounts) -> None:
    seen: list[bytes] = []

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await body_of(receive))
        token = sent(scope, b"authorization").decode().removeprefix("Bearer ")
        await answer(send, 200 if token in accounts.good else 401)

    house = await http2(api, credential=accounts.credential())
    for status in (b"", b'countersign; details="renewed token"'):
        answered = await house.ask(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        assert (answered.status, answered.told) == (200, status)
        accounts.good.clear()
    assert seen == [b"hello"] * 3


async def test_a_429_over_http2_is_waited_out(http2: Http2) -> None:
    statuses = [429, 200]

    async def api(_: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        await answer(send, statuses.pop(0), b"", (b"retry-after", b"3"))

    house = await http2(api, HurriedClock())
    answered = await house.ask(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
    assert answered.status == 200
    assert answered.told.startswith(b'countersign; details="2 attempts; waited ')


async def test_a_websocket_goes_over_http_1(http2: Http2) -> None:
    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["http_version"], scope["path"]) == ("websocket", "1.1", "/v1/chat")
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "chat"})
        await send(
            {"type": "websocket.send", "text": (await receive())["text"] + sent(scope, b"authorization").decode()}
        )
        await send({"type": "websocket.close"})

    house = await http2(api)
    client = await house.connect()
    await client.send(HANDSHAKE.replace(b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b""))
    switched = await client.answer()
    assert (switched.status, switched.get("Sec-WebSocket-Protocol")) == (101, b"chat")
    await client.send(FRAME)
    assert await client.until(TOKEN.encode()) == b"\x81\x1cHello" + f"Bearer {TOKEN}".encode()


# -- unix sockets --------------------------------------------------------------------------------------


async def test_an_api_on_a_unix_socket(lead: Build, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    api = Api()
    server = await asyncio.start_unix_server(api._connected, path)
    assert stat.S_ISSOCK(path.stat().st_mode)
    house = await lead(upstream=f"unix:{path}:/v1")
    assert (await house.ask(b"GET /a%2Fb?c HTTP/1.1\r\nHost: localhost\r\n\r\n")).body == b"ok"
    assert (await house.ask()).body == b"ok"
    first, second = api.messages
    assert (first.target, first.get("Host")) == (b"/v1/a%2Fb?c", b"localhost")
    assert (first.connection, second.connection) == (0, 0)
    api.script.append(b"HTTP/1.1 302 Found\r\nLocation: http://localhost/v1/there\r\nContent-Length: 0\r\n\r\n")
    assert (await house.ask()).get("Location") == b"http://localhost/there"
    # No absolute URL leads there: http://localhost may be anything on this machine.
    named = await house.ask(b"GET http://localhost/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (named.status, named.error) == (404, "destination_not_found")
    server.close()
    path.unlink()
    for line in api.lines:
        line.reset()
    missing = await lead(upstream=f"unix:{path}", retry={"attempts": 1})
    refused = await missing.ask()
    assert (refused.status, refused.error) == (502, "connection_refused")
    assert str(path) not in refused.body.decode()
