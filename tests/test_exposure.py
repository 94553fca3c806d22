"""What other users could change or read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import exposure


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made).resolve()
        path.chmod(0o755)
        yield path


def made(folder: Path, mode: int) -> Path:
    file = folder / "countersign.toml"
    file.write_text("")
    file.chmod(mode)
    return file


@pytest.mark.parametrize(
    ("mode", "secret", "told"),
    [
        (0o600, True, ""),
        (0o640, True, ""),
        (0o664, False, ""),
        (0o644, True, "can be read by every user of this machine; right would be chmod 600"),
        (0o644, False, ""),
        (0o646, True, "can be changed by every user of this machine; right would be chmod o-w"),
        (0o602, False, "can be changed by every user of this machine; right would be chmod o-w"),
    ],
)
def test_a_file(folder: Path, mode: int, secret: bool, told: str) -> None:
    file = made(folder, mode)
    assert list(exposure.of_file(file, secret=secret)) == ([f"{file} {told} {file}"] if told else [])
    folder.chmod(0o700)
    assert list(exposure.of_file(file, secret=secret)) == []


@pytest.mark.parametrize(("mode", "wrong"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_folder(folder: Path, mode: int, wrong: bool) -> None:
    file = made(folder, 0o600)
    folder.chmod(mode)
    told = [f"files in {folder} can be exchanged by every user of this machine; right would be chmod o-w {folder}"]
    assert list(exposure.of_folder(folder)) == list(exposure.of_file(file)) == (told if wrong else [])


def test_a_file_that_was_found_and_is_another_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(folder, 0o600)
    assert list(exposure.of_file(file, named=False)) == []
    real = os.stat

    class Theirs:
        st_uid, st_mode = 12345, real(file).st_mode

    monkeypatch.setattr(Path, "stat", lambda path, **_: Theirs() if path == file else real(path))
    [told] = exposure.of_file(file, named=False)
    assert told.startswith(f"{file} belongs to another user")
    assert list(exposure.of_file(file)) == []


def test_what_is_not_there(folder: Path) -> None:
    assert list(exposure.of_file(folder / "missing")) == list(exposure.of_folder(folder / "missing")) == []
