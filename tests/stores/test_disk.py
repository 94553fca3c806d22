from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.stores import _disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it's tokens.json"


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.parent.iterdir()}


def test_a_file_is_made_for_its_owner_only_and_replaced_whole(path: Path) -> None:
    assert _disk.read_safely(path) is None
    for content in (b"one", b"two"):
        _disk.replace(path, content)
        found = _disk.read_safely(path)
        assert found is not None
        assert found[1] == content
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(path) == {path.name}


def test_what_a_crash_would_leave_is_for_its_owner_only_whatever_the_umask(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode))
    before = os.umask(0)
    try:
        _disk.replace(path, b"content")
        _disk.set_aside(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(modes[0]) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_it_is_synced_before_its_name_and_its_folder_after_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def rename(source: Path, target: Path) -> Path:
        done.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    _disk.replace(path, b"content")
    assert done == ["file", "rename", "folder"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    _disk.replace(path, b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _disk.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(path) == {path.name}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_a_file_open_to_others_is_refused_and_mended_as_told(path: Path, mode: int) -> None:
    _disk.replace(path, b"content")
    path.chmod(mode)
    with pytest.raises(StoreError, match="chmod 600") as caught:
        _disk.read_safely(path)
    assert os.system(str(caught.value).partition("mend it with: ")[2]) == 0
    assert _disk.read_safely(path) is not None


def test_a_symbolic_link_is_refused_even_to_a_safe_file_or_nowhere(path: Path) -> None:
    _disk.replace(path, b"content")
    link = path.with_name("link")
    link.symlink_to(path)
    dangling = path.with_name("dangling")
    dangling.symlink_to("nowhere")
    for refused in (link, dangling):
        with pytest.raises(StoreError, match=rf"symbolic link.* rm .*{refused.name}"):
            _disk.read_safely(refused)


def test_a_foreign_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _disk.replace(path, b"content")
    foreign = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: foreign)
    with pytest.raises(StoreError, match=f"another user.*chown {foreign} "):
        _disk.read_safely(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(path: Path, make: object) -> None:
    assert callable(make)
    make(path)
    with pytest.raises(StoreError, match=r"not a regular file.*mv "):
        _disk.read_safely(path)


def test_a_file_swapped_after_the_first_look_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _disk.replace(path, b"content")
    seen = path.lstat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "lstat", lambda self: seen)
    with pytest.raises(StoreError, match="not a regular file"):
        _disk.read_safely(path)


def test_only_what_killed_writers_left_is_swept(path: Path) -> None:
    kept = {path.name, "other.json.tmp-1-a", f"{path.name}.lock", f"{path.name}.damaged-1"}
    for name in kept | {f"{path.name}.tmp-1-a", f"{path.name}.tmp-2-b"}:
        path.with_name(name).touch()
    stubborn = path.with_name(f"{path.name}.tmp-3-c")
    stubborn.mkdir()
    _disk.sweep(path)
    assert names(path) == kept | {stubborn.name}


def test_what_is_set_aside_gets_the_first_free_name(path: Path) -> None:
    path.with_name(f"{path.name}.damaged-1").write_text("kept")
    path.with_name(f"{path.name}.damaged-2").symlink_to("nowhere")
    path.write_text("damaged")
    assert _disk.set_aside(path).name == f"{path.name}.damaged-3"
    assert path.with_name(f"{path.name}.damaged-1").read_text() == "kept"
    assert path.with_name(f"{path.name}.damaged-3").read_text() == "damaged"
    assert not path.exists()


def test_what_cant_be_set_aside_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(source: Path, target: Path) -> None:
        raise OSError(16, "Device or resource busy")

    path.write_text("mounted")
    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(OSError, match="busy"):
        _disk.set_aside(path)
    assert names(path) == {path.name}
