"""Messages between processes of our own, over a socket pair; sockets can come with them. Never blocks.

A message is its length and the number of its sockets, and then a pickle: both ends are the same program, and
nobody else can reach them.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Sequence

_HEAD = struct.Struct("!II")
_PIECE = 1 << 16
_MOST_SOCKETS = 253  # that Linux takes at once (SCM_MAX_FD)
_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Channel:
    """One end.

    Attributes:
        ended: whether the other end has gone; what it said before has been received then.

    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.ended = False
        self._out: deque[tuple[memoryview, list[socket.socket]]] = deque()
        self._in = bytearray()
        self._sockets: deque[list[socket.socket]] = deque()  # of each message that has any

    @property
    def has_backlog(self) -> bool:
        """Whether something waits until the other end reads: `flush` when the socket can be written to."""
        return bool(self._out)

    def send(self, message: object, sockets: Sequence[socket.socket] = ()) -> None:
        """Say something, now or when there is room; to an end that has gone, nothing."""
        data = pickle.dumps(message)
        # Duplicates, since the sender may close its own before there is room.
        kept = [sock.dup() for sock in sockets]
        self._out.append((memoryview(_HEAD.pack(len(data), len(kept)) + data), kept))
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        try:
            while self._out:
                data, sockets = self._out[0]
                sent = self._sent(data, sockets)
                _close(sockets)
                if sent < len(data):
                    self._out[0] = (data[sent:], [])
                else:
                    self._out.popleft()
        except BlockingIOError:
            pass
        except OSError:  # it has gone, which `receive` will find out
            while self._out:
                _close(self._out.popleft()[1])

    def _sent(self, data: memoryview, sockets: list[socket.socket]) -> int:
        if not sockets:
            return self.socket.send(data)
        return socket.send_fds(self.socket, [data], [sock.fileno() for sock in sockets])

    def receive(self) -> list[tuple[object, list[socket.socket]]]:
        """Return what has come: messages with their sockets, or without if there are no descriptors left."""
        while not self.ended:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self.socket, _PIECE, _MOST_SOCKETS, _CLOSE_ON_EXEC)
            except BlockingIOError:
                break
            except OSError:
                data, descriptors, flags = b"", [], 0
            self.ended = not data
            self._in += data
            self._keep(descriptors, is_cut=bool(flags & socket.MSG_CTRUNC))
        return self._complete()

    def _keep(self, descriptors: Sequence[int], *, is_cut: bool) -> None:
        """Keep the sockets of a message: the system never joins those of two."""
        sockets = []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
            sockets.append(socket.socket(fileno=descriptor))
        if is_cut:
            _close(sockets)
        if sockets or is_cut:
            self._sockets.append(sockets)

    def _complete(self) -> list[tuple[object, list[socket.socket]]]:
        messages = []
        while len(self._in) >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._in)
            end = _HEAD.size + length
            if len(self._in) < end:
                break
            message = pickle.loads(self._in[_HEAD.size : end])  # noqa: S301  # from our own other half
            messages.append((message, self._sockets.popleft() if count else []))
            del self._in[:end]
        return messages

    def close(self) -> None:
        """End."""
        self.socket.close()
        for sockets in self._sockets:
            _close(sockets)
        for _, sockets in self._out:
            _close(sockets)
        self._out.clear()


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
    sockets.clear()


def pair() -> tuple[Channel, Channel]:
    """Return the two ends of a new one."""
    one, other = socket.socketpair()
    return Channel(one), Channel(other)
