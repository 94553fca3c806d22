"""Debian's Chromium without a window, over the DevTools protocol: as much of it as the journeys need.

Playwright would be the usual way; it and httpbin, which tests need too, want different versions of greenlet.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 30.0  # seconds that a browser may take for anything
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
# Every name is this machine: pages come from whatever origin a test makes up, and nothing leaves it.
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--host-resolver-rules=MAP * 127.0.0.1", "--remote-debugging-port=0",
)  # fmt: skip
Event = dict[str, Any]  # Any: JSON


class Page:
    """A tab.

    Attributes:
        told: what the browser had to say of the page, such as refusals and broken policies.

    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.told: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._loaded = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def open(self, url: str) -> None:
        """Go to `url`, and wait until it has loaded, or failed to."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(PATIENCE):
            await self._loaded.wait()

    async def run(self, script: str) -> Any:  # Any: JSON
        """Return what the body of an async function in the page returns; it may do what a click may."""
        expression = f"(async () => {{ {script} }})()"
        told = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def call(self, method: str, **parameters: Any) -> Event:  # Any: JSON
        """Call a method of the protocol."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE):
            told: Event = await answer
        return told

    async def _read(self) -> None:
        async for message in self._socket:
            event = message.json()
            if "id" in event:
                self._waiting.pop(event["id"]).set_result(event.get("result") or event)
            elif event["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif event["method"] == "Log.entryAdded":
                self.told.append(event["params"]["entry"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled":
                self.told += [str(each.get("value", "")) for each in event["params"]["args"]]

    async def aclose(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._socket.close()


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """Start a browser, and tell where its protocol is spoken; it ends with the block."""
    assert PROGRAM
    process = subprocess.Popen(
        (PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"),
        env={**os.environ, "HOME": str(profile)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{_port(profile / 'DevToolsActivePort')}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _port(file: Path) -> int:
    end = time.monotonic() + PATIENCE
    while not (file.is_file() and file.read_text().count("\n")):
        assert time.monotonic() < end, "the browser does not start"
        time.sleep(0.02)
    return int(file.read_text().split()[0])


@asynccontextmanager
async def tab(at: str) -> AsyncIterator[Page]:
    """Open a tab of the browser whose protocol is spoken `at` a URL; it is closed with the block."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{at}/json/new?about:blank") as answer:
            made = await answer.json()
        page = Page(await session.ws_connect(made["webSocketDebuggerUrl"], max_msg_size=0))
        for domain in ("Page", "Runtime", "Log"):
            await page.call(f"{domain}.enable")
        await page.call("Page.bringToFront")
        yield page
        await page.aclose()
        async with session.get(f"{at}/json/close/{made['id']}"):
            pass
