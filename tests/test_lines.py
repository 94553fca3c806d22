"""Lines to pipes that are full or have nobody at the other end, to full disks, and to descriptors that were closed."""

from __future__ import annotations

import io
import os
import pty
import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from proxy import lines
from proxy.lines import Descriptor, say, stderr
from proxy.log import Log

FULL = Path("/dev/full")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="opens a pipe a second time by /proc")


class Pipe:
    """A pipe, as small as the system makes them."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        if sys.platform == "linux":
            import fcntl

            fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, 4096)

    def read(self) -> bytes:
        return os.read(self.out, 1 << 16)

    def fill(self, leave: int = 0) -> bytes:
        os.set_blocking(self.into, False)
        filled = os.write(self.into, b"." * (4096 - leave if leave else 1 << 16))
        os.set_blocking(self.into, True)
        return b"." * filled


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room is not tried again before the next line."""
    monkeypatch.setattr(lines, "_SOON", 3600.0)


@linux
@pytest.mark.usefixtures("later")
def test_a_line_that_nobody_reads_holds_nothing_up_and_is_told_when_somebody_does() -> None:
    pipe = Pipe()
    log = Log(Descriptor(pipe.into), "human")
    full = pipe.fill()
    log.info("one")
    log.info("two")
    assert pipe.read() == full
    log.info("three")
    told = pipe.read().decode().splitlines()
    assert [line.partition(" ")[2] for line in told] == [
        "info: three",
        "warning: lines of the log were lost: whatever takes them was full, or did not read them lines=2",
    ]


@linux
def test_lost_lines_are_told_when_there_is_room_though_no_other_line_follows() -> None:
    pipe = Pipe()
    log = Log(Descriptor(pipe.into), "human")
    full = pipe.fill()
    for _ in range(3):
        log.info("one")
    assert pipe.read() == full
    assert pipe.read().endswith(b"did not read them lines=3\n")  # waits for it


@linux
@pytest.mark.usefixtures("later")
def test_lines_are_counted_on_where_the_line_that_tells_of_them_is_lost_itself() -> None:
    pipe = Pipe()
    log = Log(Descriptor(pipe.into), "human")
    pipe.fill()
    for _ in range(3):
        log.info("lost")
    pipe.read()
    pipe.fill(leave=60)
    log.info("x" * 10)  # fits, but what tells does not
    pipe.read()
    log.info("four")
    assert pipe.read().endswith(b"did not read them lines=3\n")


@linux
@pytest.mark.usefixtures("later")
def test_half_a_line_is_completed_before_the_next_one() -> None:
    pipe = Pipe()
    made = Descriptor(pipe.into)
    long = "x" * 6000 + "\n"
    made.write(long)
    made.write("lost\n")
    first = pipe.read()
    assert 0 < len(first) < len(long)
    made.write("next\n")
    assert (first + pipe.read()).decode() == long + "next\n"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.usefixtures("later")
def test_a_socket_that_nobody_reads_holds_nothing_up_and_still_blocks_for_others(kind: socket.SocketKind) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with ours, theirs:
        log = Log(Descriptor(ours.fileno()), "human")
        for _ in range(2000):
            log.info("x" * 1000)
        assert os.get_blocking(ours.fileno())
        theirs.setblocking(False)
        received = b""
        with suppress(BlockingIOError):
            while True:
                received += theirs.recv(1 << 16)
        assert received.count(b"x\n") < 2000
        log.info("next")
        if kind == socket.SOCK_STREAM:
            log.info("next")  # behind the rest of what had been begun
        told = b""
        with suppress(BlockingIOError):
            while True:
                told += theirs.recv(1 << 16)
        assert b"lines of the log were lost" in told
        assert re.search(rb"lines=%d\n" % (2000 - received.count(b"x\n") - told.count(b"x\n")), told)


@linux
def test_a_terminal_that_nobody_reads_holds_nothing_up_and_still_blocks_for_the_shell() -> None:
    read, given = pty.openpty()
    made = Descriptor(given)
    assert made.isatty()
    for _ in range(300):
        made.write("x" * 1000 + "\n")
    assert os.get_blocking(given)
    os.close(read)
    os.close(given)


def test_a_descriptor_that_can_only_be_waited_for_has_a_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError  # as of another user's pipe, or without /proc

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(lines, "_SOON", 3600.0)
    pipe = Pipe()
    made = Descriptor(pipe.into)
    lost: list[int] = []
    made.regained = lost.append
    for _ in range(200):
        made.write("x" * 999 + "\n")
    received = b""
    while received.count(b"x\n") < 200 - sum(lost):
        received += pipe.read()
        made.write("\n")  # takes little room: not lost
    lines.drain()
    assert 0 < received.count(b"x\n") == 200 - sum(lost) < 200
    assert os.get_blocking(pipe.into)
    os.close(pipe.out)
    made.write("nobody reads this\n")
    lines.drain()


@pytest.mark.parametrize("opens", [True, False])
def test_where_no_thread_can_be_started_lines_are_lost_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    def end(_: object) -> None:
        raise RuntimeError("can't start new thread")

    if not opens:
        monkeypatch.setattr(os, "open", refuse)
    pipe = Pipe()
    made = Descriptor(pipe.into)
    pipe.fill()
    monkeypatch.setattr(threading.Thread, "start", end)
    made.write("lost\n")
    made.write("lost\n")
    assert b"lost" not in pipe.read()


@linux
def test_a_forked_process_leaves_to_the_other_what_that_has_not_sent(later: None) -> None:
    pipe = Pipe()
    made = Descriptor(pipe.into)
    lost: list[int] = []
    made.regained = lost.append
    full = pipe.fill()
    made.write("lost\n")
    with made._lock:  # as a thread may have it at that moment
        pid = os.fork()
        if pid == 0:
            pipe.read()
            made.write("child\n")
            os._exit(len(lost))
    assert os.waitpid(pid, 0)[1] == 0
    assert pipe.read() == b"child\n"
    made.write("parent\n")
    assert (lost, len(full) > 0) == ([1], True)


@linux
def test_what_is_printed_while_serving_holds_nothing_up_either() -> None:
    program = (
        "import sys, click; from proxy.lines import never_wait, stderr; never_wait()\n"
        "for _ in range(200): click.echo('x' * 999, err=True); print('x' * 999)\n"
        "assert stderr() is stderr(); assert not sys.stderr.isatty(); assert sys.stderr.fileno() == 2"
    )
    pipe = Pipe()
    root = Path(__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, stdout=pipe.into, stderr=pipe.into, timeout=60)
    assert ended.returncode == 0
    assert set(pipe.read().split(b"\n")[:-1]) == {b"x" * 999}


@linux
def test_others_that_have_the_pipe_may_still_wait_for_it() -> None:
    pipe = Pipe()
    Descriptor(pipe.into).write("x\n")
    assert os.get_blocking(pipe.into)


def test_a_reader_who_has_gone_ends_nothing() -> None:
    pipe = Pipe()
    made = Descriptor(pipe.into)
    os.close(pipe.out)
    made.write("x\n")
    assert not made.isatty()


@pytest.mark.skipif(not FULL.exists(), reason="needs a disk that is always full")
def test_a_full_disk_ends_nothing() -> None:
    with FULL.open("wb", buffering=0) as full:
        Descriptor(full.fileno()).write("x\n")


def test_where_stderr_is_no_descriptor_it_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    assert stderr() is stream
    say("hello")
    assert stream.getvalue() == "hello\n"


def test_streams_that_were_closed_are_filled_in() -> None:
    look = (
        "import os, sys; os.close(0); os.close(1); os.close(2); sys.stdin = sys.stdout = sys.stderr = None\n"
        "from proxy.lines import fill_in; fill_in(); fill_in()\n"
        "print('x'); print('x', file=sys.stderr); assert sys.stdin.read() == ''\n"
        "assert [os.fstat(each).st_rdev for each in (0, 1, 2)] == [os.stat(os.devnull).st_rdev] * 3\n"
        "assert os.open(os.devnull, os.O_RDONLY) > 2; sys.exit(7)"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", look], cwd=root, check=False).returncode == 7
