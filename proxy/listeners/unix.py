"""Unix sockets: only this user may connect."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from proxy.gateway import Entrance
from proxy.listeners import AT_ONCE, BACKLOG, Listener, ListenError

_PREFIX = "unix:"
# Python 3.13's servers would remove the name, though others may still serve the socket.
_KEEP_NAME: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}  # Any: for mypy
_LONGEST = 107  # bytes of sun_path, without its end


class Unix(Listener):
    """``unix:PATH``."""

    scheme: ClassVar[str] = "unix"

    def __init__(self, address: str, sockets: Sequence[socket.socket]) -> None:
        super().__init__(address, sockets)
        self.entrance = Entrance(address)
        self._inode: int | None = None  # of the name, if it is for us to remove it

    @classmethod
    def accepts(cls, address: str) -> bool:
        """As `Listener.accepts`."""
        return address.startswith(_PREFIX)

    @classmethod
    def check(cls, address: str) -> None:
        """As `Listener.check`."""
        path = address.removeprefix(_PREFIX)
        if not path.startswith("/") or len(path.encode()) > _LONGEST:
            raise ValueError('not a socket; right would be "unix:/run/countersign.sock", at most 107 bytes')

    @classmethod
    def is_local(cls, address: str) -> bool:  # noqa: ARG003
        """As `Listener.is_local`."""
        return True

    @classmethod
    def bind(cls, address: str, shares: int = 1) -> Self:  # noqa: ARG003  # they all accept from the same queue
        """As `Listener.bind`."""
        path = _path(address)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            # Created with the mode it shall have: a chmod afterwards would leave a moment for others.
            mask = os.umask(0o177)
            try:
                sock.bind(str(path))
            finally:
                os.umask(mask)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            bound = cls(address, [sock])
            bound._inode = path.stat().st_ino
        except OSError as failure:
            sock.close()
            raise ListenError(
                f"{address} can't be listened on: {failure.strerror or failure}; "
                "right would be another path, in a directory that is ours"
            ) from None
        return bound

    async def _server(self, protocol: Callable[[], asyncio.Protocol], sock: socket.socket) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(protocol, sock=sock, backlog=AT_ONCE, start_serving=False, **_KEEP_NAME)

    @property
    def shown(self) -> str:
        """As `Listener.shown`."""
        return self.address

    def close(self) -> None:
        """As `Listener.close`; the socket's name goes, too, if it was made here and is not another's by now."""
        super().close()
        path = _path(self.address)
        with suppress(OSError):
            if self._inode is not None and path.stat().st_ino == self._inode:
                path.unlink()


def _path(address: str) -> Path:
    return Path(address.removeprefix(_PREFIX))


def _remove_stale(path: Path) -> None:
    """Remove what a killed process left behind; never a live socket, never another kind of file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(None, "something that is not a socket has this name")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)  # one whose queue is full lets us wait
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except (TimeoutError, BlockingIOError):
            pass
    raise FileExistsError(None, "another program listens there")
