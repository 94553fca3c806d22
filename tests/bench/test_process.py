"""How proc(5) is read. Timings stand in no test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.process import StartError, free_port, running, share, ticks

STAT = "4242 (a (strange) name) S 1 4242 4242 0 -1 4194560 9 0 0 0 150 50 7 3 20 0 1 0 99 1000 200"
ROLLUP = "00400000-7fff ---p 00000000 00:00 0 [rollup]\nRss:   9000 kB\nPss:   5120 kB\nPss_Anon:  4000 kB\n"


def test_cpu_is_user_and_system_time_of_the_process_and_of_children_that_ended() -> None:
    assert ticks(STAT) == 150 + 50 + 7 + 3


def test_memory_is_the_proportional_share() -> None:
    assert share(ROLLUP) == 5120


def test_memory_of_what_has_ended_is_none() -> None:
    assert share("") == 0


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_program_that_listens_is_measured_and_ended(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running(command, 0, port, tmp_path / "log") as process:
        assert process.cpu() > 0
        assert process.memory() > 1
    assert process.cpu() == 0


@linux
def test_one_that_ends_is_told_by_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such key')"]
    with pytest.raises(StartError, match="it ended: no such key"), running(command, 0, free_port(), tmp_path / "log"):
        pass
