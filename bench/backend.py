"""The API that can do what nginx can't: event streams, the end of uploads, tokens.

python -m bench.backend PORT
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from aiohttp import web

from bench.process import free_port, running

_SECOND = web.AppKey("second", asyncio.Condition)


async def _events(request: web.Request) -> web.StreamResponse:
    """Send an event a second, all streams in the same moment: ``data: NUMBER MONOTONIC_NANOSECONDS``."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    await response.write(b": welcome\n\n")
    second = request.app[_SECOND]
    for number in range(int(request.match_info["count"])):
        async with second:
            await second.wait()
        await response.write(b"data: %d %d\n\n" % (number, time.monotonic_ns()))
    await response.write_eof()
    return response


async def _clock(app: web.Application) -> AsyncIterator[None]:
    second = app[_SECOND] = asyncio.Condition()

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            async with second:
                second.notify_all()

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()


async def _upload(request: web.Request) -> web.Response:
    """Tell how many bytes came."""
    count = 0
    async for piece in request.content.iter_any():
        count += len(piece)
    return web.Response(text=f"{count}\n")


async def _token(_: web.Request) -> web.Response:
    return web.json_response({"access_token": "benchmark", "token_type": "Bearer", "expires_in": 86400})


def main(port: int) -> None:
    """Serve."""
    app = web.Application(client_max_size=0)
    app.cleanup_ctx.append(_clock)
    app.add_routes([
        web.get("/", _token), web.get("/events/{count}", _events), web.put("/upload", _upload),
        web.post("/token", _token),
    ])  # fmt: skip
    web.run_app(
        app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=4096, loop=uvloop.new_event_loop()
    )


@contextmanager
def serving(home: Path, core: int) -> Iterator[str]:
    """Run it until the end of the block; yields its HOST:PORT.

    Raises:
        StartError: it does not listen.

    """
    home.mkdir()
    port = free_port()
    with running([sys.executable, "-m", "bench.backend", str(port)], core, port, home / "log"):
        yield f"127.0.0.1:{port}"


if __name__ == "__main__":
    main(int(sys.argv[1]))
