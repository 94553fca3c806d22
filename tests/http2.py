"""A real HTTP/2 server, that an ASGI application scripts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from hypercorn.asyncio import serve
from hypercorn.config import Config

# Any: what ASGI says of its messages.
Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Quiet(Config):
    """Says nothing, and is stopped at once."""

    def __init__(self, directory: Path, leaf: trustme.LeafCert, protocols: list[str]) -> None:
        super().__init__()
        self.certfile, self.keyfile = str(directory / "cert.pem"), str(directory / "key.pem")
        leaf.cert_chain_pems[0].write_to_path(self.certfile)
        leaf.private_key_pem.write_to_path(self.keyfile)
        self.alpn_protocols = protocols
        self.bind = ["127.0.0.1:0"]
        self.graceful_timeout = 0.1
        self.errorlog = self.accesslog = None


@asynccontextmanager
async def http2_server(
    application: Application, directory: Path, leaf: trustme.LeafCert, protocols: tuple[str, ...] = ("h2", "http/1.1")
) -> AsyncIterator[int]:
    """Serve an application on a free port of localhost; yields the port."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await application(scope, receive, send)

    config = Quiet(directory, leaf, list(protocols))
    sockets = config.create_sockets()
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]  # the port has to be known
    sockets.secure_sockets[0].listen(1024)  # earlier than the server does
    stop = asyncio.Event()
    serving = asyncio.ensure_future(serve(guarded, config, shutdown_trigger=stop.wait))
    try:
        yield sockets.secure_sockets[0].getsockname()[1]
    finally:
        stop.set()
        await serving


async def body_of(receive: Receive) -> bytes:
    """Read a request's body to its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionError
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def answer(send: Send, status: int, body: bytes = b"", *fields: tuple[bytes, bytes]) -> None:
    """Send a whole answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*fields, length]})
    await send({"type": "http.response.body", "body": body})


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context
