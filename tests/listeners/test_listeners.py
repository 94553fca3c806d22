"""What all kinds of listeners have in common."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from proxy.gateway import Entrance
from proxy.listeners import Listener, ListenError, kind


class Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"hello")
        transport.close()


async def opened(address: str) -> Listener:
    kind(address).check(address)
    return await kind(address).open(address, lambda entrance: Greeter)


@pytest.fixture(params=["127.0.0.1:0", "localhost:0", "unix:"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix:" else str(request.param)


async def greeting(listener: Listener) -> bytes:
    if listener.shown.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(listener.shown.removeprefix("unix:"))
    else:
        host, _, port = listener.shown.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_clients_come_in_by_the_address_that_is_shown(address: str) -> None:
    listener = await opened(address)
    try:
        assert await greeting(listener) == b"hello"
        assert listener.entrance.name == address
        assert kind(address).is_local(address)
    finally:
        await listener.close()


async def test_nobody_comes_in_after_the_end_and_the_address_is_free_again(address: str) -> None:
    listener = await opened(address)
    if listener.entrance.port:
        address = address.replace(":0", f":{listener.entrance.port}")
    await listener.close()
    with pytest.raises(OSError):  # noqa: PT011  # refused, or no such file
        await greeting(listener)
    again = await opened(address)
    await again.close()


async def test_an_address_in_use_is_told(address: str) -> None:
    listener = await opened(address)
    if listener.entrance.port:
        address = address.replace(":0", f":{listener.entrance.port}")
    try:
        with pytest.raises(ListenError, match=r"right would be another p"):
            await opened(address)
        assert await greeting(listener) == b"hello"
    finally:
        await listener.close()


def test_an_entrance_is_told_apart_by_its_name() -> None:
    assert Entrance("a", 1) == Entrance("a", 1) != Entrance("b", 1)
