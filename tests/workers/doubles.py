"""Workers that only keep what they are told."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from proxy.workers.channel import Channel, pair
from proxy.workers.child import Child


class Puppet(Child):
    """A worker that is no process.

    Attributes:
        told: what it was told.
        killed: whether it was.

    """

    __slots__ = ("far", "killed", "told")

    def __init__(self, share: int = 0, *, ready: bool = True) -> None:
        near, self.far = pair()
        super().__init__(share, 0, near, 0.0, ready=ready)
        self.told: list[object] = []
        self.killed = False

    far: Channel

    def say(self, message: object, sockets: Iterable[socket.socket] = ()) -> None:
        self.told += [message, *sockets]

    def kill(self) -> None:
        self.killed = True

    def bury(self) -> str:
        self.channel.close()
        self.far.close()
        return ""

    def take(self) -> list[object]:
        """What it was told since it was last asked."""
        told, self.told = self.told, []
        return told
