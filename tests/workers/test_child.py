"""Processes that are born by a fork, and how they end."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from proxy.gateway import Story
from proxy.log import Log
from proxy.workers.channel import pair
from proxy.workers.child import Child, Closeable, fork
from proxy.workers.signals import SIGNALS, heard

# Tests may run in a process with threads; the supervisor has none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def born(live: Callable[[], None], *strangers: Closeable, log: Log | None = None) -> Child:
    near, far = pair()
    pid = fork(live, log or Log(io.StringIO()), [near, *strangers])
    far.close()
    return Child(0, pid, near, 0.0)


def ended(child: Child) -> str:
    child.channel.socket.setblocking(True)
    assert child.channel.socket.recv(1) == b""
    return child.bury()


def test_one_that_ends_well() -> None:
    assert ended(born(lambda: None)) == ""


def test_one_that_fails_says_where_and_not_what() -> None:
    reader, writer = os.pipe()

    def live() -> None:
        raise RuntimeError("c4n4ry")

    with os.fdopen(reader) as lines:
        with os.fdopen(writer, "w") as stream:
            child = born(live, log=Log(stream, "human"))
        assert ended(child) == "ended with exit code 1"
        said = lines.read()
    assert "unexpected exception" in said
    assert "RuntimeError" in said
    assert "test_child.py" in said
    assert "c4n4ry" not in said


def test_one_that_leaves_by_itself() -> None:
    def live() -> None:
        raise SystemExit(3)

    assert ended(born(live)) == "ended with exit code 1"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_one_that_is_killed(number: signal.Signals) -> None:
    def live() -> None:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    assert ended(born(live)) == f"was ended by {number.name}"


def test_it_is_ended_at_once() -> None:
    child = born(lambda: time.sleep(60))
    child.kill()
    assert ended(child) == "was ended by SIGKILL"


def test_what_belongs_to_the_supervisor_is_closed_there() -> None:
    ours, far = socket.socketpair()
    held, release = os.pipe()

    def live() -> None:
        os.read(held, 1)

    with ours, far:
        child = born(live, far)
        far.close()
        assert ours.recv(1) == b""  # though the other process lives
        os.write(release, b"x")
        assert ended(child) == ""
    os.close(held)
    os.close(release)


def test_signals_of_the_supervisor_are_not_its_own() -> None:
    def live() -> None:
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        time.sleep(0.01)

    with heard() as signals:
        assert ended(born(live)) == ""
        signals.setblocking(False)
        with pytest.raises(BlockingIOError):
            signals.recv(1)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SIGNALS)


def test_lines_of_several_processes_are_whole_though_their_reader_is_slow() -> None:
    reader, writer = os.pipe()

    def live() -> None:
        with os.fdopen(writer, "w") as stream:
            log = Log(stream, "json")
            for _ in range(200):
                log.request(Story("GET", "/" + "x" * 8000, 0.0), 0.0)

    children = [born(live) for _ in range(3)]
    os.close(writer)
    said = b""
    while piece := os.read(reader, 1000):
        said += piece
    os.close(reader)
    assert [ended(child) for child in children] == [""] * 3
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["request"] * 600
