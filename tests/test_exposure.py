"""What other users could change or read."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy import exposure
from proxy.errors import ConfigError
from proxy.exposure import flaws, require_ours

OTHER = 12345  # a user

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made).resolve()
        path.chmod(0o755)
        yield path


def made(folder: Path, mode: int = 0o600) -> Path:
    file = folder / "countersign.toml"
    file.write_text("")
    file.chmod(mode)
    return file


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "mend"),
    [(0o600, ""), (0o644, ""), (0o646, "o-w"), (0o602, "o-w"), (0o664, "g-w"), (0o666, "go-w")],
)
def test_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, mend: str) -> None:
    monkeypatch.setattr(exposure, "_is_private", lambda group: False)
    file = made(folder, mode)
    told = [f"other users can write it; expected: chmod {mend} {file}"] if mend else []
    assert list(flaws(file)) == told
    folder.chmod(0o700)  # they may have opened it before
    assert list(flaws(file)) == told


@pytest.mark.parametrize(("mode", "mend"), [(0o755, ""), (0o775, "g-w"), (0o777, "go-w"), (0o1777, ""), (0o1775, "")])
def test_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, mode: int, mend: str) -> None:
    monkeypatch.setattr(exposure, "_is_private", lambda group: False)
    below = folder / "own"
    below.mkdir(mode=0o755)
    file = made(below)
    folder.chmod(mode)
    told = f"other users can write the folder {folder}, and so replace it; expected: chmod {mend} {folder}"
    assert list(flaws(file)) == ([told] if mend else [])


@needs_root
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_of_another_user(folder: Path, mode: int) -> None:
    file = made(folder, mode)
    os.chown(file, OTHER, OTHER)
    with pytest.raises(ConfigError) as caught:
        require_ours(file)
    assert str(caught.value) == (
        f"{file}: belongs to another user ({OTHER}), who could change it; "
        f"expected one of your own or of root: sudo chown 0 {file}"
    )


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o1755])
def test_a_folder_of_another_user(folder: Path, mode: int) -> None:
    below = folder / "theirs"
    below.mkdir()
    file = made(below)
    os.chown(below, OTHER, OTHER)
    below.chmod(mode)
    (told,) = flaws(file)
    assert told.startswith(f"the folder {below} belongs to another user ({OTHER}), who could replace it; expected ")


@needs_root
def test_links_are_followed_as_the_system_does(folder: Path) -> None:
    """As a ConfigMap is mounted: a link to a link in a folder, beside it."""
    (folder / "..2024").mkdir()
    file = made(folder / "..2024")
    (folder / "..data").symlink_to("..2024")
    link = folder / "link.toml"
    link.symlink_to("..data/../..data/./countersign.toml")
    assert list(flaws(link)) == []
    file.chmod(0o606)
    assert list(flaws(link)) == [f"other users can write it; expected: chmod o-w {file}"]
    file.chmod(0o600)
    folder.chmod(0o1777)
    assert list(flaws(link)) == []
    os.lchown(link, OTHER, OTHER)
    (told,) = flaws(link)
    assert told.startswith(f"the link {link} belongs to another user")


@needs_root
def test_a_folder_that_is_left_again_does_not_matter_but_a_link_in_it_does(folder: Path) -> None:
    """As `--config ../own/x.toml` in a working directory of another user."""
    file = made(folder)
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "link").symlink_to("../countersign.toml")
    os.chown(theirs, OTHER, OTHER)
    assert list(flaws(theirs / ".." / file.name)) == []
    (told,) = flaws(theirs / "link")
    assert told.startswith(f"the folder {theirs} belongs to another user")


def test_links_in_a_circle_are_no_file(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert list(flaws(folder / "a")) == []


@needs_root
def test_what_is_mounted_read_only_passes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(folder, 0o666)
    os.chown(file, OTHER, OTHER)
    real = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=1) if path == str(file) else real(path))
    assert list(flaws(file)) == []
    folder.chmod(0o777)  # not what it is mounted in
    assert len(list(flaws(file))) == 1


def test_a_pipe_of_the_shell(folder: Path) -> None:
    code = "import sys; from proxy.exposure import *; from pathlib import Path; print(list(flaws(Path(sys.argv[1]))))"
    script = 'exec "$1" -c "$2" <(echo)'
    words = ["bash", "-c", script, "bash", sys.executable, code]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_not_there(folder: Path) -> None:
    assert list(flaws(folder / "missing")) == list(exposure.of_folder(folder / "missing")) == []
    assert list(exposure.of_secret(folder / "missing")) == []
    require_ours(folder / "missing")


GROUPS = {
    "alone": ([], [("me", 0)], True),
    "nobody": ([], [], True),
    "listed": (["me", "root"], [], True),
    "another": (["me", "you"], [], False),
    "unknown": (["gone"], [], False),
    "primary": ([], [("me", 0), ("you", OTHER)], False),
}


@pytest.mark.parametrize("case", GROUPS)
def test_a_group_of_one_s_own(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    members, primary, is_private = GROUPS[case]
    users = {"me": os.geteuid(), "root": 0, "you": OTHER}

    def named(name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_uid=users[name])

    everybody = [SimpleNamespace(pw_uid=users[name], pw_gid=777) for name, _ in primary]
    monkeypatch.setattr(grp, "getgrgid", lambda group: SimpleNamespace(gr_mem=members))
    monkeypatch.setattr(pwd, "getpwnam", named)
    monkeypatch.setattr(pwd, "getpwall", lambda: [*everybody, SimpleNamespace(pw_uid=OTHER, pw_gid=778)])
    assert exposure._is_private(777) is is_private


def test_a_group_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "getegid", lambda: 4242)
    assert exposure._is_private(4242)
    assert not exposure._is_private(4243)  # as fsGroup is


def test_an_access_control_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(folder, 0o660)
    monkeypatch.setattr(exposure, "_is_private", lambda group: True)
    assert list(flaws(file)) == []
    monkeypatch.setattr(os, "listxattr", lambda path: ["system.posix_acl_access"], raising=False)
    assert list(flaws(file)) == [f"other users can write it; expected: setfacl -b {file}"]


@pytest.mark.parametrize(
    ("rows", "outside"), [("0 0 4294967295", None), ("0 1000 1\n1 100000 65536", None), ("1000 1000 1", 65534)]
)
def test_a_user_namespace_without_root(monkeypatch: pytest.MonkeyPatch, rows: str, outside: int | None) -> None:
    texts = {"/proc/self/uid_map": rows, "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda path, **_: texts[str(path)])
    assert exposure._outside.__wrapped__() == outside


# -- what is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_secret_file_that_all_can_read(folder: Path, mode: int, is_told: bool) -> None:
    file = made(folder, mode)
    told = f"{file} can be read by every user of this machine; expected: chmod 600 {file}"
    assert list(exposure.of_secret(file)) == ([told] if is_told else [])
    folder.chmod(0o700)
    assert list(exposure.of_secret(file)) == []


@pytest.mark.parametrize(("mode", "wrong"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_folder_whose_files_can_be_exchanged(folder: Path, mode: int, wrong: bool) -> None:
    folder.chmod(mode)
    told = [f"files in {folder} can be exchanged by every user of this machine; right would be chmod o-w {folder}"]
    assert list(exposure.of_folder(folder)) == (told if wrong else [])
