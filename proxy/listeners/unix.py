"""Unix sockets: only this user may connect."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from proxy.gateway import Entrance
from proxy.listeners import BACKLOG, Factory, Listener, ListenError

_PREFIX = "unix:"
_LONGEST = 107  # bytes of sun_path, without its end


class Unix(Listener):
    """``unix:PATH``."""

    scheme: ClassVar[str] = "unix"

    def __init__(self, entrance: Entrance, server: asyncio.Server, path: Path) -> None:
        self.entrance = entrance
        self.server = server
        self._path = path
        self._inode = path.stat().st_ino

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
    async def open(cls, address: str, factory: Factory) -> Listener:
        """As `Listener.open`."""
        path = Path(address.removeprefix(_PREFIX))
        entrance = Entrance(address)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            _remove_stale(path)
            # Created with the mode it shall have: a chmod afterwards would leave a moment for others.
            mask = os.umask(0o177)
            try:
                sock.bind(str(path))
            finally:
                os.umask(mask)
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(factory(entrance), sock=sock, backlog=BACKLOG)
        except OSError as failure:
            sock.close()
            raise ListenError(
                f"{address} can't be listened on: {failure.strerror or failure}; "
                "right would be another path, in a directory that is ours"
            ) from None
        return cls(entrance, server, path)

    @property
    def shown(self) -> str:
        """As `Listener.shown`."""
        return self.entrance.name

    async def close(self) -> None:
        """As `Listener.close`; the socket's name goes, too, unless it is another's by now."""
        await super().close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()


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
