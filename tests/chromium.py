"""Debian's Chromium without a window, over the DevTools protocol: as much of it as the journeys need.

Playwright would be the usual way; it and httpbin, which tests need too, want different versions of greenlet.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
        """Return what the body of an async function in the page returns."""
        expression = f"(async () => {{ {script} }})()"
        told = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
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


@asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Page]:
    """Start a browser with one tab; it ends with the block."""
    assert PROGRAM
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"),
        env={**os.environ, "HOME": str(profile)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with aiohttp.ClientSession() as session:
            page = Page(await session.ws_connect(await _tab(session, profile / "DevToolsActivePort"), max_msg_size=0))
            for domain in ("Page", "Runtime", "Log"):
                await page.call(f"{domain}.enable")
            yield page
            await page.aclose()
    finally:
        os.killpg(process.pid, 9)
        await process.wait()


async def _tab(session: aiohttp.ClientSession, port_file: Path) -> str:
    async with asyncio.timeout(PATIENCE):
        while not (port_file.is_file() and port_file.read_text().count("\n")):
            await asyncio.sleep(0.02)
        port = port_file.read_text().split()[0]
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                for tab in await answer.json():
                    if tab["type"] == "page":
                        return str(tab["webSocketDebuggerUrl"])
            await asyncio.sleep(0.02)
