"""A reverse proxy as one would first write it: what the libraries cost when they are used as they come.

BENCH_TOKEN=… python bench/naive.py PORT UPSTREAM
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator

import httpx
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "authorization"}
_CLIENT = web.AppKey("client", httpx.AsyncClient)


async def _forward(request: web.Request) -> web.StreamResponse:
    fields = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
    fields["Authorization"] = f"Bearer {os.environ['BENCH_TOKEN']}"
    body = request.content.iter_any() if request.can_read_body else None
    async with request.app[_CLIENT].stream(request.method, request.path_qs, headers=fields, content=body) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status_code, headers=kept)
        await response.prepare(request)
        async for piece in answer.aiter_raw():
            await response.write(piece)
        await response.write_eof()
    return response


def main(port: int, upstream: str) -> None:
    """Serve."""

    async def client(app: web.Application) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=1024)
        async with httpx.AsyncClient(base_url=upstream, timeout=90, limits=limits) as opened:
            app[_CLIENT] = opened
            yield

    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{rest:.*}", _forward)
    app.cleanup_ctx.append(client)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, backlog=4096)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
