"""A body as it is asked for, waited for and refused."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import MalformedRequest, RequestTimeout
from proxy.gateway.intake import Intake


class Content:
    """Plays what comes: pieces, or an exception."""

    def __init__(self, *steps: bytes | Exception | None) -> None:
        self.steps = list(steps)
        self.ended = False

    async def readany(self) -> bytes:
        step = self.steps.pop(0) if self.steps else b""
        if isinstance(step, Exception):
            raise step
        if step is None:
            await asyncio.Event().wait()
        return step or b""

    def feed_eof(self) -> None:
        self.ended = True


class Client:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    async def drain(self) -> None:
        raise AssertionError

    def abort(self) -> None:
        raise AssertionError

    async def read(self) -> bytes:
        raise AssertionError


async def test_pieces_as_they_come() -> None:
    content = Content(b"a", b"bc")
    intake = Intake(content, Client(), expected=False, timeout=0)
    assert [piece async for piece in intake()] == [b"a", b"bc"]
    intake.leave()
    assert not content.ended


async def test_who_wants_it_says_so_once() -> None:
    client = Client()
    intake = Intake(Content(b"a"), client, expected=True, timeout=1)
    assert intake.is_unwanted
    for _ in range(2):
        async for _ in intake():
            pass
    assert client.written == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert not intake.is_unwanted


async def test_an_unwanted_body_is_not_waited_for() -> None:
    content = Content(b"a")
    Intake(content, Client(), expected=True, timeout=1).leave()
    assert content.ended


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (None, RequestTimeout),
        (ConnectionResetError(), MalformedRequest),
        (ValueError("s3cret input"), MalformedRequest),
    ],
)
async def test_what_breaks_is_the_clients_fault(step: Exception | None, error: type[Exception]) -> None:
    content = Content(b"a", step)
    intake = Intake(content, Client(), expected=False, timeout=0.01)
    with pytest.raises(error) as caught:
        async for _ in intake():
            pass
    assert "s3cret" not in str(caught.value)
    intake.leave()
    assert content.ended
