"""The demo API on a socket. Request bodies are not unpacked: a hash over a body is one over what was sent."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from aiohttp import web

GRACE: Final = 0.2  # seconds that requests under way are waited for when the server closes

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class DemoServer:
    """A demo API that listens, until it is closed.

    Attributes:
        host: the address it listens on.
        port: the port.
        url: its base URL, without a slash at the end.

    """

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self.host, self.port = runner.addresses[0][:2]
        host = _WILDCARDS.get(self.host, self.host)
        self.url = f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def aclose(self) -> None:
        """Stop listening, and end what is still under way."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


async def serve(app: web.Application, host: str, port: int) -> DemoServer:
    """Let `app` listen on `host` and `port` (0 for any free one).

    Raises:
        OSError: the address can't be had.

    """
    # AppRunner hands what it does not know down to web.Server and to the parser (ServerRunner would not).
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, handler_cancellation=True, shutdown_timeout=GRACE
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return DemoServer(runner)
