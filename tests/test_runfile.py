"""Notes of where admin listeners are."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import runfile

ROOT = Path(__file__).resolve().parents[1]
WRITE = """
import os, sys
from pathlib import Path
from proxy import runfile
runfile.write(Path({config!r}) if {config!r} else None, {address!r})
{fork}
print(flush=True)
sys.stdin.read()
"""


def process(config: str = "", address: str = "127.0.0.1:1", fork: str = "") -> subprocess.Popen[str]:
    """Start a process that has written a note."""
    started = subprocess.Popen(
        [sys.executable, "-c", WRITE.format(config=config, address=address, fork=fork)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert started.stdout
    assert started.stdout.readline() == "\n"
    return started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "countersign"


def test_a_note_is_found_while_its_process_runs_and_only_by_its_configuration(folder: Path) -> None:
    assert runfile.read(None) is None
    with process("/x/c.toml", "127.0.0.1:9") as running:
        assert runfile.read(Path("/x/c.toml")) == runfile.read(Path("/x/y/../c.toml")) == "127.0.0.1:9"
        assert runfile.read(None) is runfile.read(Path("/other")) is None
        (note,) = folder.iterdir()
        assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(note.stat().st_mode)) == (0o700, 0o600)
        running.communicate("", timeout=20)
    assert list(folder.iterdir()) == []


def test_one_of_a_process_that_was_killed_is_ignored_and_the_next_one_removes_it(folder: Path) -> None:
    with process() as running:
        running.kill()
    assert len(list(folder.iterdir())) == 1
    assert runfile.read(None) is None
    with process() as running:
        assert len(list(folder.iterdir())) == 1
        running.communicate("", timeout=20)


def test_the_youngest_one_counts(folder: Path) -> None:
    with process(address="127.0.0.1:2") as first, process(address="127.0.0.1:3") as second:
        for note in folder.iterdir():
            when = 1000 if note.read_text() == "127.0.0.1:3" else 2000
            os.utime(note, (when, when))
        assert runfile.read(None) == "127.0.0.1:2"
        first.communicate("", timeout=20)
        assert runfile.read(None) == "127.0.0.1:3"
        second.communicate("", timeout=20)


def test_a_forked_child_does_not_remove_it(folder: Path) -> None:
    with process(fork="child = os.fork()\nif child == 0: sys.exit()\nos.wait()") as running:
        assert len(list(folder.iterdir())) == 1
        running.communicate("", timeout=20)
    assert list(folder.iterdir()) == []


def test_it_is_in_the_state_folder_where_there_is_no_session(tmp_path: Path) -> None:
    with process() as running:
        assert len(list((tmp_path / "state" / "countersign").glob("*.admin"))) == 1
        running.communicate("", timeout=20)


def test_what_is_no_note_is_ignored(folder: Path) -> None:
    folder.mkdir(parents=True)
    name = runfile._name(None)
    (folder / f"{name}-x.admin").write_text("127.0.0.1:1")
    (folder / f"{name}-{os.getpid()}.admin").symlink_to("/etc/hostname")
    assert runfile.read(None) is None


def test_where_nothing_can_be_written_there_is_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    runfile.write(None, "127.0.0.1:1")
    assert runfile.read(None) is None
