"""An API that says more than it was asked: no byte of it reaches another request than its own."""

from __future__ import annotations

from contextlib import suppress
from itertools import cycle

import pytest

from proxy.transport import pool
from tests.journeys.conftest import Build
from tests.journeys.wires import Line, Message, answer

POISON = answer(200, b"poison", "X-Id: poison")
KINDS = ["kept", "surplus", "kept", "204 with a body", "idle bytes", "chunks and more", "kept", "304 with a body"]


def said(kind: str, name: bytes) -> bytes:
    """The API's answer to a request, and what it should not have sent behind it."""
    named = b"X-Id: %b\r\n" % name
    match kind:
        case "surplus":
            return answer(200, name, f"X-Id: {name.decode()}") + POISON
        case "204 with a body":
            return b"HTTP/1.1 204 No Content\r\n%bContent-Length: %d\r\n\r\n%b" % (named, len(POISON), POISON)
        case "304 with a body":
            return b"HTTP/1.1 304 Not Modified\r\n%bContent-Length: %d\r\n\r\n%b" % (named, len(POISON), POISON)
        case "chunks and more":
            return b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%b" % (named, POISON)
        case _:
            return answer(200, name, f"X-Id: {name.decode()}")


@pytest.mark.parametrize("probation", [0.0, 60.0], ids=["connections are kept", "connections are not kept"])
async def test_1000_requests_of_two_clients_get_their_own_answers(
    build: Build, monkeypatch: pytest.MonkeyPatch, probation: float
) -> None:
    monkeypatch.setattr(pool, "_PROBATION", probation)  # what the pool learns from the first stray byte
    house = await build()
    kinds = cycle(KINDS)
    kind = ""

    async def misbehave(message: Message, line: Line) -> None:
        await line.send(said(kind, message.target[1:]))

    house.api.always = misbehave
    clients = [await house.connect(), await house.connect()]
    for number in range(1000):
        kind = next(kinds)
        name = b"request-%d" % number
        client = clients[number % 2]
        await client.send(b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % name)
        seen = await client.answer()
        assert (seen.get("X-Id"), seen.body) in ((name, name), (name, b"")), kind
        if kind == "idle bytes":
            with suppress(ConnectionError):  # closed already
                await house.api.lines[-1].send(POISON)
    assert b"poison" not in clients[0].received + clients[1].received
    reused = len(house.api.messages) - len({message.connection for message in house.api.messages})
    assert reused > 200 if not probation else reused < 10
