from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.errors import StoreError
from proxy.stores import Token, _tokenfile
from proxy.stores._cipher import Cipher
from proxy.stores._locks import locked_in_thread
from proxy.stores._tokenfile import TokenFile

NOBODY = 65534
TOKEN = Token("access-canary", 1000.5, "refresh-canary")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tokens.json"


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def file(path: Path, warned: list[str]) -> TokenFile:
    return TokenFile(path, None, warned.append)


@pytest.fixture
def keyed(path: Path, warned: list[str]) -> TokenFile:
    return TokenFile(path, Cipher([b"key-canary"]), warned.append)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the times of files that were just written."""
    monkeypatch.setattr(_tokenfile, "_FRESH", -(10**18))


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def all_work(file: TokenFile) -> list[Callable[[], object]]:
    return [file.read, lambda: file.put("a", Token("new-canary", None)), lambda: file.put("a", None)]


# -- the cache -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("settled")
def test_an_unchanged_file_is_known(file: TokenFile) -> None:
    file.put("a", TOKEN)
    assert file.unchanged() is None
    file.read()
    assert file.unchanged() == {"a": TOKEN}
    file.distrust()
    assert file.unchanged() is None


def test_a_file_that_was_just_written_is_not_trusted(file: TokenFile) -> None:
    file.put("a", TOKEN)
    assert file.read() == {"a": TOKEN}
    assert file.unchanged() is None


@pytest.mark.usefixtures("settled")
def test_a_file_that_came_or_went_has_changed(file: TokenFile, path: Path) -> None:
    assert file.read() == {}
    assert file.unchanged() == {}
    TokenFile(path, None, print).put("a", TOKEN)
    assert file.unchanged() is None
    file.read()
    path.unlink()
    assert file.unchanged() is None


@pytest.mark.usefixtures("settled")
def test_a_file_opened_to_others_is_noticed_though_its_content_is_the_same(file: TokenFile, path: Path) -> None:
    file.put("a", TOKEN)
    file.read()
    path.chmod(0o644)
    assert file.unchanged() is None
    for work in all_work(file):
        with pytest.raises(StoreError, match=f"{path} is open to other users.*chmod 600 {path}"):
            work()


# -- what others do --------------------------------------------------------------------------------------


def test_what_another_one_put_is_kept(file: TokenFile, path: Path) -> None:
    other = TokenFile(path, None, print)
    file.put("a", TOKEN)
    for number in range(20):
        other.put("b", Token(str(number), None))
        assert file.read()["b"] == Token(str(number), None)
    file.put("a", None)
    assert other.read() == {"b": Token("19", None)}


def test_a_link_is_not_replaced(file: TokenFile, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    for work in all_work(file):
        with pytest.raises(StoreError, match="symbolic link"):
            work()
    assert path.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_killed_writer_left_is_removed_by_the_next_one(file: TokenFile, path: Path) -> None:
    file.put("a", TOKEN)
    leftover = path.with_name("tokens.json.tmp-1-a")
    leftover.write_text("half")
    file.put("a", TOKEN)
    assert not leftover.exists()


def test_a_writer_that_hangs_elsewhere_is_told(file: TokenFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tokenfile, "PATIENCE", 0.0)
    file.put("a", TOKEN)
    with (
        locked_in_thread(path.with_name("tokens.json.lock"), 0),
        pytest.raises(StoreError, match=f"{path} can't be written: another process holds its lock"),
    ):
        file.put("b", TOKEN)


# -- damage ----------------------------------------------------------------------------------------------


def test_a_file_torn_anywhere_is_set_aside_told_and_empty(file: TokenFile, path: Path, warned: list[str]) -> None:
    file.put("a", TOKEN)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        path.chmod(0o600)
        assert file.read() == {}
        aside = path.with_name(f"tokens.json.damaged-{length + 1}")
        assert aside.read_bytes() == whole[:length]
        assert f"{path} is torn or no JSON; it was set aside as {aside}" in warned[length]
    file.put("a", TOKEN)
    assert file.read() == {"a": TOKEN}
    assert "canary" not in "".join(warned)


def test_a_foreign_file_is_set_aside_by_a_write_too(file: TokenFile, path: Path, warned: list[str]) -> None:
    file.put("a", TOKEN)
    path.write_text('{"somebody": "else\'s"}')
    file.put("b", TOKEN)
    assert file.read() == {"b": TOKEN}
    assert path.with_name("tokens.json.damaged-1").read_text() == '{"somebody": "else\'s"}'
    assert len(warned) == 1


def test_what_another_process_mended_meanwhile_is_not_set_aside(
    file: TokenFile, path: Path, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.put("a", TOKEN)
    whole = path.read_bytes()
    path.write_text("damaged")
    monkeypatch.setattr(file, "make_folder", lambda: path.write_bytes(whole))
    assert file.read() == {"a": TOKEN}
    assert warned == []


def test_a_damaged_file_that_has_to_stay_is_told(
    file: TokenFile, path: Path, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> Path:
        raise OSError(16, "Device or resource busy")

    file.put("a", TOKEN)
    path.write_text("damaged")
    monkeypatch.setattr(_tokenfile, "set_aside", busy)
    with pytest.raises(StoreError, match=f"{path} can't be set aside, though it is torn or no JSON: Device"):
        file.read()
    assert path.read_text() == "damaged"
    assert warned == []


# -- encryption ------------------------------------------------------------------------------------------


def test_an_encrypted_file_shows_nothing(keyed: TokenFile, path: Path) -> None:
    keyed.put("name-canary", TOKEN)
    assert keyed.read() == {"name-canary": TOKEN}
    assert b"canary" not in path.read_bytes()


@pytest.mark.parametrize(("key", "text"), [(None, r"set tokens\.key"), (b"wrong-canary", "another key")])
def test_a_file_that_needs_another_key_stays_as_it_is(
    keyed: TokenFile, path: Path, warned: list[str], key: bytes | None, text: str
) -> None:
    keyed.put("a", TOKEN)
    before = path.read_bytes()
    other = TokenFile(path, None if key is None else Cipher([key]), warned.append)
    for work in all_work(other):
        with pytest.raises(StoreError, match=text) as caught:
            work()
        assert "canary" not in f"{caught.value!r} {other!r}"
    assert path.read_bytes() == before
    assert warned == []
    assert keyed.read() == {"a": TOKEN}


def test_a_plain_file_is_encrypted_by_the_next_write(file: TokenFile, keyed: TokenFile, path: Path) -> None:
    file.put("a", TOKEN)
    assert keyed.read() == {"a": TOKEN}
    assert b"canary" in path.read_bytes()
    keyed.put("b", TOKEN)
    assert b"canary" not in path.read_bytes()
    assert sorted(keyed.read()) == ["a", "b"]


def test_a_new_key_reads_what_the_old_one_wrote_and_the_next_write_is_its_own(keyed: TokenFile, path: Path) -> None:
    keyed.put("a", TOKEN)
    TokenFile(path, Cipher([b"new-canary", b"key-canary"]), print).put("b", TOKEN)
    assert sorted(TokenFile(path, Cipher([b"new-canary"]), print).read()) == ["a", "b"]
    with pytest.raises(StoreError, match="another key"):
        keyed.read()


# -- failures --------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_loses_nothing(file: TokenFile, path: Path) -> None:
    file.put("a", TOKEN)
    with room(100), pytest.raises(StoreError, match=f"{path} can't be written: File too large") as caught:
        file.put("b", Token("new-canary", None))
    assert "canary" not in str(caught.value)
    assert file.read() == {"a": TOKEN}
    assert not list(path.parent.glob("*.tmp-*"))


def test_a_folder_that_cant_be_is_told(file: TokenFile, path: Path) -> None:
    assert file.read() == {}
    path.parent.touch()
    for _ in range(2):
        assert file.unchanged() is None
        with pytest.raises(StoreError, match="can't be read: Not a directory"):
            file.read()
    with pytest.raises(StoreError, match="can't be written: "):
        file.put("a", TOKEN)


@contextmanager
def ordinary() -> Iterator[None]:
    """Be a user whom permissions stop, which they don't for root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_read_only_folder_is_told_and_still_read() -> None:
    with tempfile.TemporaryDirectory() as home:  # pytest's own folders are closed to others
        Path(home).chmod(0o755)
        folder = Path(home, "state")
        folder.mkdir(0o700)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        with ordinary():
            file = TokenFile(folder / "tokens.json", None, lambda text: None)
            file.put("a", TOKEN)
            folder.chmod(0o500)
            assert file.read() == {"a": TOKEN}
            with pytest.raises(StoreError, match="can't be written: Permission denied"):
                file.put("b", TOKEN)
            folder.chmod(0o700)
