"""The life of a process that serves alone: what is said when it begins, the signals that reload and end it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from proxy import exposure, files, layers, places
from proxy.app import App
from proxy.config import Settings
from proxy.errors import CountersignError
from proxy.log import Log
from proxy.mistakes import dotted

_LEAVING = 1.0  # seconds


async def to_the_end(main: Coroutine[Any, Any, None]) -> None:  # Any: what it yields and is sent
    """Run `main`, and have the process end soon after it: nothing is left that is worth being waited for.

    Threads can't be cancelled. Python would wait for a name server that does not answer, or for a stranger's code,
    when it closes the loop and once more when it exits.
    """
    await main
    leaving = threading.Timer(_LEAVING, os._exit, (0,))
    leaving.daemon = True
    leaving.start()


async def serve_until_signal(app: App, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends at once. SIGHUP reloads.

    Args:
        app: what serves, and does so already.
        ready: called when signals are heeded, which is when others may be told that it serves.

    """
    first, second = asyncio.Event(), asyncio.Event()
    reload_wanted = asyncio.Event()

    def stop() -> None:
        (second if first.is_set() else first).set()

    with handled({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload_wanted.set}):
        ready()
        reloading = asyncio.create_task(_reload_when(reload_wanted, app), name="reload")
        await first.wait()
        reloading.cancel()
        app.log.info("stopping", in_progress=app.busy)
        await app.end(second)


async def _reload_when(wanted: asyncio.Event, app: App) -> None:
    warning: asyncio.Task[None] | None = None
    try:
        while True:
            await wanted.wait()
            wanted.clear()
            before = app.settings
            try:
                await app.reload()
            except Exception as failure:  # noqa: BLE001  # whatever it is, it must not be the last reload
                app.log.defect(failure)
            if app.settings is not before:
                if warning is not None:
                    warning.cancel()
                # Beside it: a secret's command may take its time, and the next reload must not wait for it.
                warning = asyncio.create_task(warn_early(app.settings, app.log), name="secrets")
    finally:
        if warning is not None:
            warning.cancel()


@contextmanager
def handled(calls: Mapping[int, Callable[[], None]]) -> Iterator[None]:
    """Have signals call functions in the running loop; after the block, with which the process ends, ignore them.

    The loop's own handlers would go with the loop, and Python's with the interpreter. A signal would then kill a
    process that ends well. One that is ignored stays ignored until the process is gone.
    """
    loop = asyncio.get_running_loop()
    for number, call in calls.items():
        signal.signal(number, partial(_call, loop, call))
    try:
        yield
    finally:
        for number in calls:
            signal.signal(number, signal.SIG_IGN)


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], None], number: int, frame: object) -> None:  # noqa: ARG001
    loop.call_soon_threadsafe(call)


def exposures(settings: Settings) -> Iterator[str]:
    """Yield what other users of this machine could read, or exchange later, that matters to this process."""
    try:
        if settings.file is not None:
            yield from exposure.of_secret(settings.file.parent / layers.DOTENV)
        files = [Path(address.removeprefix("unix:")) for address in _listened(settings) if address.startswith("unix:")]
        if settings.tokens.store in ("file", "keyring"):
            files.append(settings.tokens.path.expanduser().absolute())
        for folder in dict.fromkeys(file.parent for file in files):
            yield from exposure.of_folder(folder)
    except OSError:
        return  # whoever needs the file says so


def ignored(settings: Settings) -> Iterator[str]:
    """Yield the lines of the ``.env`` file that have no effect."""
    for line in settings.environment.malformed:
        yield f".env:{line}: is ignored; expected NAME=VALUE"


def _listened(settings: Settings) -> list[str]:
    return [address for _, address in places.wanted(settings)]


async def warn_early(settings: Settings, log: Log) -> None:
    """Warn at a start and after a reload of what would fail later, without asking any token endpoint."""
    for text in ignored(settings):
        log.warning(text)
    wanted, room = settings.server.connections, files.room()
    if room < wanted:
        log.warning(f"server.connections is {wanted}; this process may have files open for {room} (ulimit -n)")  # noqa: G004
    for path, source in settings.secrets():
        try:
            await source.get()
        except CountersignError as failure:
            log.warning(f"{dotted(path)}: {failure}")  # noqa: G004  # this log takes texts
