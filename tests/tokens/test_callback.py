"""The redirect of a login comes to this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CredentialError
from proxy.tokens import callback as module
from proxy.tokens.callback import LARGEST, Callback, judge
from tests.doubles import settle

CANARY = "canary-cb"


@pytest.fixture
async def callback() -> AsyncIterator[Callback]:
    made = await Callback.open()
    yield made
    made.close()


async def sent(callback: Callback, content: bytes) -> bytes:
    """Send bytes, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    writer.write(content)
    try:
        return await reader.read()
    finally:
        writer.close()


def get(target: str, host: str = "127.0.0.1:1", method: str = "GET", fields: tuple[str, ...] = ()) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode()


GOOD = f"/callback?code={CANARY}&state=s"


def expects(query: str) -> bool:
    return query.endswith("state=s")


@pytest.fixture
async def redirect(callback: Callback) -> AsyncIterator[asyncio.Task[str]]:
    task = asyncio.create_task(callback.redirect(expects))
    await settle()
    yield task
    task.cancel()


@pytest.mark.parametrize(("succeeded", "status", "title"), [(True, b"200 OK", b"Logged in"), (False, b"400", b"Not ")])
async def test_a_redirect_comes_and_is_answered(
    callback: Callback, redirect: asyncio.Task[str], succeeded: bool, status: bytes, title: bytes
) -> None:
    asking = asyncio.create_task(sent(callback, get(GOOD)))
    assert await redirect == f"code={CANARY}&state=s"
    await callback.finish(succeeded=succeeded)
    answer = await asking
    assert status in answer.split(b"\r\n")[0]
    assert b"<h1>" + title in answer
    assert CANARY.encode() not in answer
    for field in (b"Cache-Control: no-store", b"Referrer-Policy: no-referrer", b"default-src 'none'"):
        assert field in answer


async def test_before_a_login_asks_for_it_nothing_is_a_redirect(callback: Callback) -> None:
    assert b" 404 " in await sent(callback, get(GOOD))


async def test_its_address_is_this_machine_s_alone(callback: Callback) -> None:
    assert callback.uri == f"http://127.0.0.1:{callback.port}/callback"
    assert [socket.getsockname()[0] for socket in callback._server.sockets] == ["127.0.0.1"]


async def test_a_certain_port_can_be_wanted_once(callback: Callback) -> None:
    with pytest.raises(CredentialError, match=f"redirect_port {callback.port} can't be had"):
        await Callback.open(callback.port)


OTHERS = {
    "favicon": (get("/favicon.ico"), 404), "root": (get("/?state=s"), 404),
    "below": (get("/callback/x?code=1&state=s"), 404), "slash": (get("/callback/?code=1&state=s"), 404),
    "no query": (get("/callback"), 404), "no state": (get("/callback?code=1"), 404),
    "wrong state": (get("/callback?code=1&state=x"), 404), "an error": (get("/callback?error=access_denied"), 404),
    "an error with a wrong state": (get("/callback?error=access_denied&state=x"), 404),
    "post": (get(GOOD, method="POST"), 405), "head": (get(GOOD, method="HEAD"), 405),
    "options": (get(GOOD, method="OPTIONS"), 405),
    "image": (get(GOOD, fields=("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors")), 404),
    "image of this site": (get(GOOD, fields=("sec-fetch-site: same-site", "sec-fetch-mode: no-cors")), 404),
    "script": (get(GOOD, fields=("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors")), 404),
    "websocket": (get(GOOD, fields=("Sec-Fetch-Mode: websocket",)), 404),
    "cross-site": (get(GOOD, fields=("Sec-Fetch-Site: cross-site",)), 404),
    "two modes": (get(GOOD, fields=("Sec-Fetch-Mode: navigate", "Sec-Fetch-Mode: cors")), 404),
    "rebound": (get(GOOD, "evil.example.com"), 421),
    "rebound with port": (get(GOOD, "127.0.0.1.evil.example.com:80"), 421),
    "no host": (f"GET {GOOD} HTTP/1.1\r\n\r\n".encode(), 400),
    "two hosts": (f"GET {GOOD} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".encode(), 400),
    "garbage": (b"\x16\x03\x01\x02\r\n\r\n", 400), "http/2": (b"PRI * HTTP/2.0\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OTHERS))
async def test_others_are_turned_away_and_the_redirect_is_waited_for(
    callback: Callback, redirect: asyncio.Task[str], name: str
) -> None:
    content, status = OTHERS[name]
    for _ in range(2):
        answer = await sent(callback, content)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert answer.endswith(b"\r\n\r\n") is (name == "head")
        assert (b"\r\nAllow: GET\r\n" in answer) is (status == 405)
        assert CANARY.encode() not in answer
    assert not redirect.done()
    asking = asyncio.create_task(sent(callback, get(GOOD)))
    await redirect
    await callback.finish(succeeded=True)
    assert b"Logged in" in await asking


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
async def test_a_navigation_may_come_from_anywhere(callback: Callback, redirect: asyncio.Task[str], site: str) -> None:
    fields = (f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    asking = asyncio.create_task(sent(callback, get(GOOD, fields=fields)))
    await redirect
    await callback.finish(succeeded=True)
    assert b"Logged in" in await asking


async def test_a_browser_may_send_the_redirect_twice(callback: Callback, redirect: asyncio.Task[str]) -> None:
    asking = [asyncio.create_task(sent(callback, get(GOOD))) for _ in range(3)]
    await redirect
    while len(callback._waiting) < 3:
        await asyncio.sleep(0)
    assert b" 404 " in await sent(callback, get("/callback?code=other&state=s"))
    await callback.finish(succeeded=True)
    assert all(b"Logged in" in page for page in await asyncio.gather(*asking))
    assert b"Logged in" in await sent(callback, get(GOOD))


async def test_connections_that_send_nothing_delay_nothing(
    callback: Callback, redirect: asyncio.Task[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 60)
    monkeypatch.setattr(module, "PATIENCE", 60)
    spare = [await asyncio.open_connection("127.0.0.1", callback.port) for _ in range(20)]
    slow = spare[0][1]
    slow.write(b"GET /call")
    asking = asyncio.create_task(sent(callback, get(GOOD)))
    await redirect
    begun = asyncio.get_running_loop().time()
    await callback.finish(succeeded=True)
    assert asyncio.get_running_loop().time() - begun < 30
    assert b"Logged in" in await asking
    for _, writer in spare:
        writer.close()


async def test_one_whose_head_comes_in_pieces_is_waited_for(callback: Callback, redirect: asyncio.Task[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    content = get(GOOD)
    for at in range(0, len(content), 10):
        assert not redirect.done()
        writer.write(content[at : at + 10])
        await settle()
    await redirect
    await callback.finish(succeeded=True)
    assert b"Logged in" in await reader.read()
    writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:5000", "localhost", "[::1]:80", "127.0.0.1"])
def test_every_name_of_this_machine_will_do(host: str) -> None:
    assert judge(get("/callback?a", host)) == (200, "a")


@pytest.mark.parametrize("content", [b"GET /callback", b"GET /callback?" + b"x" * LARGEST, b""])
async def test_who_never_finishes_is_let_go(
    callback: Callback, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with suppress(ConnectionError):  # more had been sent than was read
        assert await sent(callback, content) == b""


async def test_a_browser_s_spare_connection_keeps_nobody_waiting() -> None:
    callback = await Callback.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    while not callback._clients:
        await asyncio.sleep(0)
    callback.close()
    assert await reader.read() == b""
    writer.close()


@given(st.binary())
def test_whatever_comes_is_judged(head: bytes) -> None:
    status, query = judge(head)
    assert status != 200
    assert query == ""


async def test_a_browser_that_has_gone_is_no_failure(callback: Callback, redirect: asyncio.Task[str]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    writer.write(get(GOOD))
    await redirect
    writer.transport.abort()
    await asyncio.sleep(0)
    await callback.finish(succeeded=True)


async def test_a_browser_that_does_not_read_delays_the_end_shortly(
    callback: Callback, redirect: asyncio.Task[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSING", 0.01)
    monkeypatch.setattr(module, "_DONE", "x" * (1 << 24))
    _, writer = await asyncio.open_connection("127.0.0.1", callback.port, limit=1)
    writer.write(get(GOOD))
    await redirect
    await callback.finish(succeeded=True)
    assert callback._clients
    writer.close()
