"""A redis server of the test's own, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

PROGRAM = shutil.which("redis-server")
WANTED = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"),
    reason="redis-server is not installed; right would be Debian's package",
)


class RedisServer:
    """A server on a free port of this machine and on a unix socket; what it holds is written to disk at once.

    Attributes:
        url: with a database of its own for each test that wants one.
        socket: where its unix socket is.

    """

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="redis-")
        self.socket = Path(self._folder) / "s"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None, "redis-server is not installed"
        options = {
            "port": self.port, "bind": "127.0.0.1", "unixsocket": self.socket, "dir": self._folder, "save": "",
            "appendonly": "yes", "appendfsync": "always", "logfile": "log",
        }  # fmt: skip
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        self._process = subprocess.Popen([PROGRAM, *words, *self._arguments], stdout=subprocess.DEVNULL)
        while not self._answers():
            assert self._process.poll() is None, (Path(self._folder) / "log").read_text()
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                answer = connection.recv(64)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH"))

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def ask(self, *command: str | bytes) -> bytes:
        """Return the first line of the answer to a command, or what it is the length of."""
        raw = [word.encode() if isinstance(word, str) else word for word in command]
        words = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"*%d\r\n%b" % (len(command), words))
            file = connection.makefile("rb")
            line = file.readline().strip()
            return file.read(int(line[1:])) if line.startswith(b"$") and line != b"$-1" else line
