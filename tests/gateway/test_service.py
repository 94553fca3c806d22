"""One request served: written, cleaned up after, and told."""

from __future__ import annotations

import asyncio

import pytest

from proxy.errors import HeadTooLarge, ProxyError, ShuttingDown
from proxy.gateway import Answer, Entrance, Inbound, Story
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.headers import read
from proxy.gateway.service import Service
from tests.doubles import FakeClock, Pieces


class Peer:
    """A connection that keeps what it was sent."""

    since = 0.0
    in_head = False
    served = 0
    has_begun = False

    def __init__(self, *, stays: bool = True, gone: bool = False) -> None:
        self.stays = stays
        self.gone = gone
        self.sent = b""
        self.drained = 0
        self.refused: list[ProxyError] = []
        self.writing_paused = False

    def write(self, data: bytes) -> None:
        if self.gone:
            raise ConnectionResetError
        self.sent += data

    async def drain(self) -> None:
        self.drained += 1

    def abort(self) -> None:
        self.gone = True

    async def read(self) -> bytes:
        return b""

    def refuse(self, error: ProxyError) -> None:
        self.refused.append(error)

    def close(self) -> None:
        self.gone = True

    force_close = close

    def cut(self) -> None: ...

    def cancel(self) -> None: ...


class Case:
    def __init__(self, answer: Answer | None = None) -> None:
        self.answer = answer
        self.stories: list[Story] = []
        self.asked = asyncio.Event()
        self.lines: list[str] = []
        self.clock = FakeClock()
        self.service = Service(self._forward, ConnectionSettings(), self.clock, self.stories.append, self.lines.append)
        self.inbound = Inbound("GET", b"/x", read([]), (1, 1), Entrance("here"), Story("GET", "/x", 0.0))
        self.cleaned = 0

    async def _forward(self, inbound: Inbound) -> Answer:
        self.asked.set()
        if self.answer is None:
            await asyncio.Event().wait()
        assert self.answer is not None
        self.answer.cleanup = self._cleanup
        return self.answer

    async def _cleanup(self) -> None:
        self.cleaned += 1


async def test_an_answer_is_written_and_its_story_told() -> None:
    case, peer = Case(Answer(200, [(b"A", b"b")], b"abc")), Peer()
    assert await case.service.serve(peer, case.inbound)
    assert peer.sent == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\nabc"
    (story,) = case.stories
    assert (story.status, story.returned, story.complete, case.cleaned) == (200, 3, True, 1)


@pytest.mark.parametrize(("stays", "draining"), [(False, False), (True, True)])
async def test_a_connection_that_ends_says_so(stays: bool, draining: bool) -> None:
    case, peer = Case(Answer(200, [], b"abc")), Peer(stays=stays)
    case.service.connections.draining = draining
    assert not await case.service.serve(peer, case.inbound)
    assert b"\r\nConnection: close\r\n" in peer.sent


async def test_a_slow_reader_is_waited_for() -> None:
    case, peer = Case(Answer(200, [], b"abc")), Peer()
    peer.writing_paused = True
    await case.service.serve(peer, case.inbound)
    assert peer.drained == 1


async def test_a_client_that_has_gone_leaves_nothing_behind() -> None:
    case, peer = Case(Answer(200, [], Pieces(b"a", b"b"))), Peer(gone=True)
    with pytest.raises(ConnectionResetError):
        await case.service.serve(peer, case.inbound)
    assert (case.cleaned, len(case.stories), case.stories[0].complete) == (1, 1, False)


async def test_who_is_ended_before_the_answer_is_told_why_when_all_are() -> None:
    case, peer = Case(), Peer()
    case.service.connections.draining = True
    serving = asyncio.create_task(case.service.serve(peer, case.inbound))
    await case.asked.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert peer.sent.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in peer.sent
    (story,) = case.stories
    assert (story.status, story.error) == (503, ShuttingDown.error)


async def test_a_refusal_is_a_whole_answer_and_is_counted() -> None:
    case = Case()
    said = case.service.refusal(HeadTooLarge())
    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"\r\nConnection: close\r\n" in said
    assert case.stories[0].status == 431


async def test_clients_that_speak_tls_cost_a_line_a_minute() -> None:
    case = Case()
    said = [case.service.tls_refusal() for _ in range(3)]
    assert said[0].startswith(b"HTTP/1.1 400 ")
    assert b"a client spoke TLS; use http://" in said[0]
    assert case.lines == ["a client spoke TLS; use http://"]
    await case.clock.advance(61)
    case.service.tls_refusal()
    assert case.lines[1:] == ["a client spoke TLS; use http:// (3 times)"]
    assert case.stories == []
