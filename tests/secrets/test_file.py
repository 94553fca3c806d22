from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from proxy.errors import SecretError
from proxy.secrets import file
from proxy.secrets.file import File


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("one\n")
    return path


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replace(path: Path, content: bytes) -> None:
    """As ``cp -p`` and ``mv`` would: nothing but the inode is another."""
    stat, other = path.stat(), path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


async def test_it_is_read_again_when_it_was_written(path: Path) -> None:
    source = File(file=path)
    assert await source.get() == "one"
    write(path, b"longer")
    assert await source.get() == "longer"


async def test_it_is_read_again_when_it_was_replaced(path: Path) -> None:
    source = File(file=path)
    assert await source.get() == "one"
    replace(path, b"two\n")
    assert await source.get() == "two"


async def test_it_is_not_read_again_while_nothing_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = File(file=path)
    await source.get()
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert await source.get() == "one"


async def test_one_that_is_gone_is_an_error_and_not_the_old_value(path: Path) -> None:
    source = File(file=path)
    await source.get()
    os.unlink(path)  # noqa: PTH108  # pathlib's blocks as much, and ruff says so
    with pytest.raises(SecretError, match=f"the file {path} can't be read: No such file"):
        await source.get()


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"a b\r\n\n", "a b"), (b"\xef\xbb\xbfwindows", "windows"), (b" leading", " leading"), ("ä".encode(), "ä")],
)
async def test_white_space_at_the_end_and_a_byte_order_mark_are_no_part_of_it(
    path: Path, content: bytes, value: str
) -> None:
    write(path, content)
    assert await File(file=path).get() == value


async def test_one_that_is_being_written_is_waited_for(path: Path) -> None:
    source = File(file=path)
    assert await source.get() == "one"
    write(path, b"")
    asking = asyncio.create_task(source.get())
    await asyncio.sleep(0.02)
    write(path, b"two")
    assert await asking == "two"


async def test_neither_is_one_wrong_that_is_emptied_between_two_looks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, found = Path.read_bytes, list[None]()

    def emptied_first(self: Path) -> bytes:
        found.append(None)
        write(path, b"" if len(found) == 1 else b"two")
        os.utime(path, (1, 1))  # as a file system has it that notes the time at last
        return read(self)

    os.utime(path, (1, 1))
    monkeypatch.setattr(Path, "read_bytes", emptied_first)
    assert await File(file=path).get() == "two"


async def test_one_that_stays_empty_is_told_and_from_then_on_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_WRITTEN", 0.03)
    write(path, b"")
    os.utime(path, (1, 1))
    source = File(file=path)
    with pytest.raises(SecretError, match="is empty"):
        await source.get()
    monkeypatch.setattr(asyncio, "sleep", lambda _: pytest.fail("waits again"))
    with pytest.raises(SecretError, match="is empty"):
        await source.renewed("")
    write(path, b"there")
    assert await source.get() == "there"


async def test_the_tilde_is_the_home_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    assert await File(file=Path("~/secret")).get() == "one"


@pytest.mark.parametrize("name", ["a\x00b", "~no-such-user-here/x", "\ud800"])
async def test_a_path_that_can_not_be_is_said(name: str) -> None:
    with pytest.raises(SecretError):
        await File(file=Path(name)).get()


async def test_a_directory_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="can't be read: Is a directory"):
        await File(file=tmp_path).get()


@pytest.mark.parametrize(
    ("codec", "text"), [("utf-16", "is UTF-16 text; expected UTF-8"), ("latin-1", "is not UTF-8 text")]
)
async def test_another_encoding_is_said(path: Path, codec: str, text: str) -> None:
    write(path, "canary-ä".encode(codec))
    with pytest.raises(SecretError, match=f"the file {path} {text}$"):
        await File(file=path).get()


async def test_a_pipe_that_nobody_writes_to_delays_its_own_secret_only(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "PATIENCE", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    asking = [asyncio.create_task(File(file=pipe).get()) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert await File(file=path).get() == "one"
        failures = await asyncio.gather(*asking, return_exceptions=True)
    assert {str(failure) for failure in failures} == {f"the file {pipe} can't be read: no result within 0.2 s"}
    assert sum(thread.name == f"secret file {pipe}" for thread in threading.enumerate()) == 1
    writing = os.open(pipe, os.O_WRONLY)
    os.write(writing, b"two\n")
    os.close(writing)


async def test_on_a_disk_that_may_hang_even_its_state_is_asked_for_in_a_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "is_remote", lambda _: True)
    source, seen = File(file=path), list[str]()
    real = file._state

    def state(path: Path) -> object:
        seen.append(threading.current_thread().name)
        return real(path)

    monkeypatch.setattr(file, "_state", state)
    for _ in range(3):
        assert await source.get() == "one"
    assert seen == [f"secret file {path}"] * 3
    write(path, b"longer")
    assert await source.get() == "longer"
