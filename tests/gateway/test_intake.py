"""A body as it is asked for, waited for and refused."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import MalformedRequest, RequestTimeout
from proxy.gateway.intake import Intake


class Content:
    """Plays what comes: pieces, an exception, or nothing for ever. An empty piece is waited for."""

    def __init__(self, *steps: bytes | Exception | None) -> None:
        self.steps = list(steps)
        self.ended = False

    def is_eof(self) -> bool:
        return None not in self.steps and b"" not in self.steps

    def read_nowait(self) -> bytes:
        step = self.steps[0] if self.steps else b""
        if isinstance(step, Exception):
            raise step
        return self.steps.pop(0) or b"" if step else b""  # type: ignore[return-value]  # no exception, see above

    async def readany(self) -> bytes:
        if self.steps[0] is None:
            await asyncio.Event().wait()
        self.steps.pop(0)
        return self.read_nowait()

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
    content = Content(b"a", b"", b"bc")
    intake = Intake(content, Client(), expected=False, timeout=0)
    assert [piece async for piece in intake()] == [b"a", b"bc"]
    intake.leave()
    assert not content.ended


async def test_a_body_that_is_here_is_had_as_a_whole_and_only_once() -> None:
    intake = Intake(Content(b"all"), Client(), expected=False, timeout=0)
    assert intake.whole() == b"all"
    assert [piece async for piece in intake()] == []


@pytest.mark.parametrize("steps", [(b"a", None), (b"", b"a"), (ValueError("s3cret"),)])
def test_one_that_is_not_is_left_as_it_is(steps: tuple[bytes | Exception | None, ...]) -> None:
    content = Content(*steps)
    assert Intake(content, Client(), expected=False, timeout=0).whole() is None
    assert content.steps == list(steps)


def test_nor_is_one_that_was_not_asked_for_yet() -> None:
    client = Client()
    assert Intake(Content(b"all"), client, expected=True, timeout=0).whole() is None
    assert client.written == []


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
