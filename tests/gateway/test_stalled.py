"""Who takes nothing of what it is sent is cut off, and who takes a little is not."""

from __future__ import annotations

import asyncio

import pytest

from proxy.gateway.stalled import Stalled


class Pipe(asyncio.Transport):
    """A transport with bytes that wait."""

    def __init__(self, unsent: int) -> None:
        super().__init__()
        self.unsent = unsent
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def stalled() -> Stalled:
    return Stalled()


def test_who_takes_nothing_is_cut_off_when_patience_ends(stalled: Stalled) -> None:
    pipe = Pipe(100)
    stalled.watch(pipe, 0)
    stalled.cut(60, 60)
    assert len(stalled) == 1
    stalled.cut(61, 60)
    assert (pipe.aborted, len(stalled)) == (True, 0)


def test_who_takes_a_little_has_time_again(stalled: Stalled) -> None:
    pipe = Pipe(100)
    stalled.watch(pipe, 0)
    for turn in range(1, 10):
        pipe.unsent -= 1
        stalled.cut(turn * 50, 60)
    assert not pipe.aborted
    stalled.cut(9 * 50 + 61, 60)
    assert pipe.aborted


def test_who_has_taken_it_is_let_be(stalled: Stalled) -> None:
    pipe = Pipe(100)
    stalled.watch(pipe, 0)
    stalled.forget(pipe)
    stalled.forget(pipe)
    stalled.cut(100, 60)
    assert not pipe.aborted
