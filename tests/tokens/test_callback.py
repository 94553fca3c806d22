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


def get(target: str, host: str = "127.0.0.1:1", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.mark.parametrize(("succeeded", "status", "title"), [(True, b"200 OK", b"Logged in"), (False, b"400", b"Not ")])
async def test_a_redirect_comes_and_is_answered(
    callback: Callback, succeeded: bool, status: bytes, title: bytes
) -> None:
    asking = asyncio.create_task(sent(callback, get(f"/callback?code={CANARY}&state=s")))
    redirect = await callback.redirect()
    assert redirect.query == f"code={CANARY}&state=s"
    assert CANARY not in repr(redirect)
    await redirect.answer(succeeded=succeeded)
    answer = await asking
    assert status in answer.split(b"\r\n")[0]
    assert b"<h1>" + title in answer
    assert CANARY.encode() not in answer
    for field in (b"Cache-Control: no-store", b"Referrer-Policy: no-referrer", b"default-src 'none'"):
        assert field in answer


async def test_its_address_is_this_machine_s_alone(callback: Callback) -> None:
    assert callback.uri == f"http://127.0.0.1:{callback.port}/callback"
    assert [socket.getsockname()[0] for socket in callback._server.sockets] == ["127.0.0.1"]


async def test_a_certain_port_can_be_wanted_once(callback: Callback) -> None:
    with pytest.raises(CredentialError, match=f"redirect_port {callback.port} can't be had"):
        await Callback.open(callback.port)


async def test_the_second_redirect_is_nobody_s(callback: Callback) -> None:
    asking = asyncio.create_task(sent(callback, get("/callback?first")))
    redirect = await callback.redirect()
    assert b" 404 " in await sent(callback, get("/callback?second"))
    assert (await callback.redirect()).query == "first"
    await redirect.answer(succeeded=True)
    await asking


OTHERS = {
    "favicon": (get("/favicon.ico"), 404), "root": (get("/"), 404), "below": (get("/callback/x?code=1"), 404),
    "post": (get("/callback?code=1", method="POST"), 405), "head": (get("/callback?code=1", method="HEAD"), 405),
    "rebound": (get("/callback?code=1", "evil.example.com"), 421),
    "rebound with port": (get("/callback?code=1", "127.0.0.1.evil.example.com:80"), 421),
    "no host": (b"GET /callback?code=1 HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /callback?code=1 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    "garbage": (b"\x16\x03\x01\x02\r\n\r\n", 400), "http/2": (b"PRI * HTTP/2.0\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OTHERS))
async def test_others_are_turned_away_and_the_redirect_is_waited_for(callback: Callback, name: str) -> None:
    content, status = OTHERS[name]
    assert f"HTTP/1.1 {status} ".encode() in await sent(callback, content)
    assert not callback._arrived.done()


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


async def test_a_browser_that_has_gone_is_no_failure(callback: Callback) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", callback.port)
    writer.write(get("/callback?code=1"))
    redirect = await callback.redirect()
    writer.transport.abort()
    await asyncio.sleep(0)
    await redirect.answer(succeeded=True)
