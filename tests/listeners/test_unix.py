"""Sockets in the file system: whose they are, and what becomes of their names."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from proxy.listeners import ListenError, kind

from .test_listeners import Greeter, greeting, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


async def test_only_this_user_may_connect(path: Path) -> None:
    mask = os.umask(0)
    try:
        listener = await opened(f"unix:{path}")
        assert os.umask(0) == 0
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listener.entrance.port is None
    listener.close()


async def test_its_name_goes_at_the_end(path: Path) -> None:
    listener = await opened(f"unix:{path}")
    listener.close()
    assert not path.exists()
    listener.close()


async def test_its_name_stays_if_it_is_another_s_by_now(path: Path) -> None:
    listener = await opened(f"unix:{path}")
    path.rename(path.with_name("old"))
    path.write_text("another's")
    listener.close()
    assert path.read_text() == "another's"


async def test_what_a_killed_process_left_behind_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = await opened(f"unix:{path}")
    assert await greeting(listener) == b"hello"
    listener.close()


async def test_a_socket_that_lives_is_not_replaced_even_if_its_queue_is_full(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as waiting:
        alive.bind(str(path))
        alive.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ListenError, match="another program listens there; right would be another path"):
            await opened(f"unix:{path}")
    assert path.is_socket()


async def test_another_kind_of_file_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ListenError, match="something that is not a socket has this name; right would be another path"):
        await opened(f"unix:{path}")
    assert path.read_text() == "precious"


async def test_a_link_is_not_followed(path: Path) -> None:
    path.symlink_to(path.with_name("precious"))
    with pytest.raises(ListenError, match="not a socket"):
        await opened(f"unix:{path}")


async def test_a_folder_that_is_missing(path: Path) -> None:
    with pytest.raises(ListenError, match="No such file or directory; right would be another path, in a directory"):
        await opened(f"unix:{path}/x")


@pytest.mark.parametrize("address", ["unix:", "unix:relative", "unix:/" + "x" * 107, "unix:/" + "ü" * 54])
def test_what_is_no_path_of_a_socket(address: str) -> None:
    with pytest.raises(ValueError, match=r"not a socket; right would be .* at most 107 bytes"):
        kind(address).check(address)


def test_the_longest_path() -> None:
    address = "unix:/" + "x" * 106
    kind(address).check(address)
    assert kind(address).is_local(address)


async def test_who_serves_what_another_has_bound_leaves_its_name(path: Path) -> None:
    address = f"unix:{path}"
    bound = kind(address).bind(address, 2)
    served = kind(address)(address, [sock.dup() for sock in bound.sockets])
    await served.accept(lambda entrance: Greeter)
    served.close()
    assert path.is_socket()
    bound.close()
    assert not path.exists()
