"""The stock transport connects as the own one does: by `dial`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpcore
import httpx
import pytest
from anyio.abc import SocketStream

from proxy.transport import backend
from proxy.transport.backend import Dialling, dialled
from proxy.transport.dial import dial as real_dial
from tests.doubles import raw_server, read_head


async def test_a_request_goes_over_a_connection_that_was_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []

    async def dial(host: str, port: int) -> socket.socket:
        asked.append((host, port))
        return await real_dial("127.0.0.1", port)

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    monkeypatch.setattr(backend, "dial", dial)
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    dialled(transport)
    async with raw_server(play) as port, transport:
        response = await transport.handle_async_request(httpx.Request("GET", f"http://api.test:{port}/"))
        assert response.status_code == 204
        await response.aclose()
    assert asked == [("api.test", port)]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ConnectionRefusedError(), httpcore.ConnectError),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), httpcore.ConnectError),
        (None, httpcore.ConnectTimeout),
    ],
)
async def test_its_failures_are_httpcores(
    failure: OSError | None, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dial(*_: Any) -> socket.socket:
        if failure is None:
            await asyncio.Event().wait()
            raise AssertionError
        raise failure

    monkeypatch.setattr(backend, "dial", dial)
    with pytest.raises(kind) as caught:
        await Dialling().connect_tcp("api.test", 80, timeout=0.01)
    assert failure is None or caught.value.__cause__ is failure


@pytest.mark.parametrize("failure", ["closed", "cancelled"])
async def test_a_socket_that_comes_to_nothing_is_closed(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = socket.socket()  # not connected, as one that was reset at once

    async def dial(*_: Any) -> socket.socket:
        return made

    async def cancelled(_: socket.socket) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(backend, "dial", dial)
    if failure == "cancelled":
        monkeypatch.setattr(SocketStream, "from_socket", cancelled)
    with pytest.raises(httpcore.ConnectError if failure == "closed" else asyncio.CancelledError):
        await Dialling().connect_tcp("api.test", 80)
    assert made.fileno() == -1
