"""Lines to pipes that are full or have nobody at the other end, to full disks, and to descriptors that were closed."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

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

    def fill(self) -> bytes:
        os.set_blocking(self.into, False)
        filled = os.write(self.into, b"." * (1 << 16))
        os.set_blocking(self.into, True)
        return b"." * filled


@linux
def test_a_line_that_nobody_reads_holds_nothing_up_and_is_told_when_somebody_does() -> None:
    pipe = Pipe()
    log = Log(Descriptor(pipe.into), "human")
    full = pipe.fill()
    log.info("one")
    log.info("two")
    assert pipe.read() == full
    log.info("three")
    lines = pipe.read().decode().splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "info: three",
        "warning: lines of the log were lost: whatever takes them was full, or did not read them lines=2",
    ]


@linux
def test_half_a_line_is_completed_before_the_next_one() -> None:
    pipe = Pipe()
    lines = Descriptor(pipe.into)
    long = "x" * 6000 + "\n"
    lines.write(long)
    lines.write("lost\n")
    first = pipe.read()
    assert 0 < len(first) < len(long)
    lines.write("next\n")
    assert (first + pipe.read()).decode() == long + "next\n"


@linux
def test_others_that_have_the_pipe_may_still_wait_for_it() -> None:
    pipe = Pipe()
    Descriptor(pipe.into).write("x\n")
    assert os.get_blocking(pipe.into)


def test_a_reader_who_has_gone_ends_nothing() -> None:
    pipe = Pipe()
    lines = Descriptor(pipe.into)
    os.close(pipe.out)
    lines.write("x\n")
    assert not lines.isatty()


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
