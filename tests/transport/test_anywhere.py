"""To any origin, directly or through the outgoing proxy that leads there."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from proxy.errors import ConnectTimeout, OutgoingProxyError, OutOfSockets, UpstreamError
from proxy.transport import stock
from proxy.transport.anywhere import AnywhereTransport
from proxy.transport.outgoing import ProxyRules, rules
from proxy.transport.tls import context
from tests.doubles import raw_server
from tests.forwarding import Asked, ForwardProxy
from tests.journeys.wires import Api
from tests.transport.test_stock import plays


async def get(transport: AnywhereTransport, url: str) -> bytes:
    response = await transport.handle_async_request(httpx.Request("GET", url))
    try:
        return await response.aread()
    finally:
        await response.aclose()


async def test_each_origin_is_reached_as_the_rules_say() -> None:
    async with Api() as api, ForwardProxy({"api.test": api.port}, "Basic dTpw") as forward:
        proxy = rules(f"http://u:p@localhost:{forward.port}")
        transport = AnywhereTransport(context, proxy)
        assert await get(transport, "http://api.test/far?x") == b"ok"
        assert await get(transport, f"{api.url}/near") == b"ok"
        assert forward.asked == [Asked("GET", "http://api.test/far?x", "Basic dTpw")]
        assert [message.target for message in api.messages] == [b"/far?x", b"/near"]
        assert api.messages[1].get("Proxy-Authorization") is None
        await transport.aclose()


async def failure(port: int, url: str, connect: float = 5.0) -> UpstreamError:
    proxy = httpx.URL(f"http://user:hush@127.0.0.1:{port}")
    transport = AnywhereTransport(context, ProxyRules(proxy, proxy), connect=connect)
    with pytest.raises(UpstreamError) as caught:
        await get(transport, url)
    await transport.aclose()
    assert "hush" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 407 hush\r\nContent-Length: 0\r\n\r\n", "the outgoing proxy answered 407"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the outgoing proxy answered 403"),
        (b"garbage\r\n\r\n", "the outgoing proxy gave no proper answer"),
        (b"", "the outgoing proxy gave no proper answer"),
    ],
)
async def test_a_tunnel_that_is_refused_has_sent_nothing(answer: bytes, says: str) -> None:
    async with raw_server(plays(answer)) as port:
        found = await failure(port, "https://api.test")
    assert (type(found), found.detail) == (OutgoingProxyError, says)
    assert (found.sent, found.reused, found.begun) == (False, False, False)


async def test_a_407_of_the_outgoing_proxy_is_not_the_servers() -> None:
    async with raw_server(plays(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")) as port:
        found = await failure(port, "http://api.test")
    assert (type(found), found.detail, found.sent) == (OutgoingProxyError, "the outgoing proxy answered 407", True)


@pytest.mark.parametrize("url", ["http://api.test", "https://api.test"])
async def test_one_that_is_not_there_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(plays(b"")) as port:
        pass
    found = await failure(port, url)
    assert (type(found), found.detail) == (OutgoingProxyError, "the outgoing proxy can't be reached")
    monkeypatch.setattr(stock, "_connect_error", lambda _, __: OutOfSockets())
    assert type(await failure(port, url)) is OutOfSockets


async def test_one_that_hangs_is_a_connect_timeout() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    async with raw_server(hang) as port:
        proxy = httpx.URL(f"http://127.0.0.1:{port}")
        transport = AnywhereTransport(context, ProxyRules(proxy, proxy), read=0.05)
        with pytest.raises(ConnectTimeout) as caught:
            await get(transport, "https://api.test")
        assert not caught.value.sent
        await transport.aclose()
