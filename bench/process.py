"""Processes of a benchmark: pinned to a core, and what their whole tree costs (proc(5))."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PATIENCE = 20.0  # seconds until a proxy must listen
_GRACE = 5.0  # seconds until one that was asked to end is killed


class StartError(Exception):
    """A program did not start; the text says what it said last."""


class Process:
    """A program that listens, with all that it started.

    Attributes:
        port: where it listens, on 127.0.0.1.

    """

    def __init__(self, popen: subprocess.Popen[bytes], port: int) -> None:
        self.port = port
        self._popen = popen

    @property
    def _tree(self) -> list[int]:
        return list(_descent(self._popen.pid))

    def cpu(self) -> float:
        """Return user and system time of the tree so far, in seconds; children that have ended count, too."""
        return sum(ticks(stat) for each in self._tree if (stat := _read(each, "stat"))) / _TICK

    def memory(self) -> float:
        """Return the tree's resident memory in MiB, shared pages by their share (PSS)."""
        return sum(share(rollup) for each in self._tree if (rollup := _read(each, "smaps_rollup"))) / 1024

    def resident(self) -> float:
        """Return the tree's resident memory in MiB."""
        return sum(resident(status) for each in self._tree if (status := _read(each, "status"))) / 1024

    def descriptors(self) -> list[str]:
        """Return what the tree has open, a text for each descriptor."""
        return [link for each in self._tree for link in _links(Path(f"/proc/{each}/fd"))]

    def tell(self, number: int) -> None:
        """Send a signal to the program, and not to what it started."""
        self._popen.send_signal(number)

    def forget_peak(self) -> None:
        """Let what `peak` tells begin now."""
        for each in self._tree:
            Path(f"/proc/{each}/clear_refs").write_text("5")

    def peak(self) -> float:
        """Return the highest resident memory of the tree since `forget_peak`, in MiB."""
        return sum(highest(status) for each in self._tree if (status := _read(each, "status"))) / 1024

    def end(self) -> int:
        """End the tree; return the program's exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGTERM)
        try:
            self._popen.wait(_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        return self._popen.returncode


def ticks(stat: str) -> int:
    """Return the clock ticks that /proc/PID/stat tells, those of children that were waited for included."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def share(rollup: str) -> int:
    """Return the KiB that /proc/PID/smaps_rollup tells as the process's share."""
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) if found else 0


def highest(status: str) -> int:
    """Return the KiB that /proc/PID/status tells as the peak of the resident memory."""
    return _told(status, "VmHWM")


def resident(status: str) -> int:
    """Return the KiB that /proc/PID/status tells as the resident memory."""
    return _told(status, "VmRSS")


def _told(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def _links(folder: Path) -> Iterator[str]:
    with suppress(OSError):  # it has just ended
        for entry in folder.iterdir():
            with suppress(OSError):  # or closed this one
                yield str(entry.readlink())


def _descent(pid: int) -> Iterator[int]:
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in thread.read_text().split():
                yield from _descent(int(child))


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:  # it has just ended
        return ""


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(
    command: list[str], core: int, port: int, log: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Run `command` on one core until the end of the block; what it says goes to `log`.

    Raises:
        StartError: it ended, or does not listen on `port`.

    """
    with log.open("wb") as out:
        popen = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env=_environ(environ or {}), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    process = Process(popen, port)
    try:
        _await_port(popen, port, log)
        yield process
    finally:
        process.end()


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program: Python may keep what it compiled, as it may on its users' machines."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | dict(more)


def _await_port(popen: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if popen.poll() is not None:
            raise StartError(f"it ended: {_last_line(log)}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.002)
    raise StartError(f"it does not listen: {_last_line(log)}")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def said(*command: str) -> str:
    """Return the first line that a command prints, on either stream."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "")
