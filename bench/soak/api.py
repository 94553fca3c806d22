"""The API of a soak: what it says depends on what it is asked only, so that every answer can be checked.

python -m bench.soak.api PORT SEED
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
import time
from random import Random

import uvloop
from aiohttp import web

from bench.soak.network import harmful
from bench.soak.pattern import pattern
from tests.relay import Relay

TOKEN_LIFE = 5  # seconds
FIELD = "X-From-Api"  # by which an answer shows that it is none of the proxy's own


class Api:
    """The handlers."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._tokens: dict[str, float] = {}  # until when they are good, monotonic seconds

    async def token(self, _: web.Request) -> web.Response:
        """Issue one."""
        now = time.monotonic()
        self._tokens = {token: end for token, end in self._tokens.items() if end > now}
        token = secrets.token_hex(16)
        self._tokens[token] = now + TOKEN_LIFE
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFE})

    async def private(self, request: web.Request) -> web.StreamResponse:
        """Answer who has a good token; now and then one is revoked."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._random.random() < 0.002:
            self._tokens.pop(token, None)
        if self._tokens.get(token, 0.0) < time.monotonic():
            return web.Response(status=401)
        return await self.bytes(request)

    async def bytes(self, request: web.Request) -> web.StreamResponse:
        """Send what was asked for; larger bodies in chunks."""
        seed, size = int(request.match_info["seed"]), int(request.match_info["size"])
        body = pattern(seed, size)
        if size < 1 << 16:
            return web.Response(body=body)
        response = web.StreamResponse(headers={FIELD: "1"})
        if seed % 2:
            response.content_length = size
        await response.prepare(request)
        for start in range(0, size, 1 << 16):
            await response.write(body[start : start + (1 << 16)])
        await response.write_eof()
        return response

    async def digest(self, request: web.Request) -> web.Response:
        """Tell what came."""
        size, found = 0, hashlib.sha256()
        async for piece in request.content.iter_any():
            size += len(piece)
            found.update(piece)
        return web.Response(text=f"{size} {found.hexdigest()}")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send some events, a tenth of a second apart."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", FIELD: "1"})
        await response.prepare(request)
        for number in range(int(request.match_info["count"])):
            await response.write(b"data: %d\n\n" % number)
            await asyncio.sleep(0.1)
        await response.write_eof()
        return response

    async def throttled(self, request: web.Request) -> web.StreamResponse:
        """Have them wait, now and then."""
        if self._random.random() < 0.01:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await self.bytes(request)

    async def flaky(self, request: web.Request) -> web.StreamResponse:
        """Fail, one time in ten."""
        return web.Response(status=503) if self._random.random() < 0.1 else await self.bytes(request)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Say everything again."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is web.WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket


async def _mark(_: web.Request, response: web.StreamResponse) -> None:
    response.headers[FIELD] = "1"


async def serve(port: int, seed: int) -> None:
    """Serve, behind the relay on `port`, until ended."""
    api = Api(Random(seed))
    app = web.Application(client_max_size=0)
    app.on_response_prepare.append(_mark)
    app.add_routes([
        web.post("/token", api.token), web.get("/private/{seed}/{size}", api.private),
        web.get("/bytes/{seed}/{size}", api.bytes), web.post("/digest", api.digest), web.put("/digest", api.digest),
        web.get("/events/{count}", api.events), web.get("/throttled/{seed}/{size}", api.throttled),
        web.get("/flaky/{seed}/{size}", api.flaky), web.get("/socket", api.socket),
    ])  # fmt: skip
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    relay = Relay(runner.addresses[0][1], harmful(seed))
    relay.port = port
    async with relay:
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
