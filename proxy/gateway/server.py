"""aiohttp's server and what it lacks: the only file of the way that knows it.

Heads are read and written as raw bytes, so that nothing is lost that is no UTF-8, and nothing of aiohttp's own
shows: no error page, no ``Server``, no unpacked body. A request becomes an `Inbound`, an `Answer` is written.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from proxy.clock import Clock
from proxy.errors import (
    HeadTooLarge,
    InternalError,
    MalformedRequest,
    ProxyError,
    ShuttingDown,
    TargetTooLong,
)
from proxy.gateway import Answer, Entrance, Forward, Inbound, Story
from proxy.gateway.connections import Connections, ConnectionSettings
from proxy.gateway.duplex import Upgraded
from proxy.gateway.intake import Intake
from proxy.gateway.problem import problem
from proxy.gateway.reply import Framing, framing, head_bytes, send

MOST_FIELDS = 128
_BUFFER = 1 << 16
_NEVER = 1e9  # seconds; aiohttp's own keep-alive timer has nothing to do
_TLS_HANDSHAKE = b"\x16\x03"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Observe = Callable[[Story], None]


class Done:
    """What aiohttp is given in place of a response: all is written already, or `data` is all there is."""

    def __init__(self, *, keep_alive: bool, data: bytes = b"") -> None:
        self.keep_alive = keep_alive
        self._data = data

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write what is left."""
        if self._data and request.transport is not None:
            request.transport.write(self._data)

    async def write_eof(self) -> None:
        """Nothing is left."""


class Connection(RequestHandler):
    """A client's connection; as a `Wire`, its writing side.

    Attributes:
        entrance: the listener by which it came.
        since: event loop time since when it is idle or in its head.
        in_head: whether it is in its head, and not idle.
        served: how many requests it has brought to their end.

    """

    __slots__ = ("_duplex", "_head_size", "_owner", "_seen", "entrance", "in_head", "served", "since")

    def __init__(self, owner: Server, entrance: Entrance) -> None:
        settings = owner.connections.settings
        super().__init__(
            owner.web_server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # allowed, but not annotated
            auto_decompress=False,
            keepalive_timeout=_NEVER,
            max_headers=MOST_FIELDS,
            # Two limits that differ, so that the error tells which one it was.
            max_line_size=settings.header_size,
            max_field_size=settings.header_size + 1,
            read_bufsize=_BUFFER,
        )
        self._owner = owner
        self.entrance = entrance
        self.since = 0.0
        self.in_head = True
        self.served = 0
        self._head_size = 0
        self._seen = False
        self._duplex: Upgraded | None = None

    # -- what aiohttp calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place among the connections."""
        super().connection_made(transport)
        self._owner.connections.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the place."""
        self._owner.connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and see that heads don't grow without end."""
        if not self._seen:
            self._seen = True
            if data.startswith(_TLS_HANDSHAKE):
                # Answered in plain text, a TLS client would wait or report nonsense.
                self.force_close()
                return
        count = self._request_count
        super().data_received(data)
        if self._request_count != count:
            self._head_size = 0
            # From here on it is a body that comes, though the handler may not have begun.
            self._owner.connections.waiting.pop(self, None)
            self._break_body()
        elif self in self._owner.connections.waiting and data:
            self._grow_head(len(data))

    def _break_body(self) -> None:
        """Tell the request under way that its body is broken: the parser only queues its error behind it."""
        request = self._current_request
        if request is None or not self._messages or request.content.is_eof():
            return
        if not hasattr(self._messages[-1][0], "raw_headers"):
            request.content.set_exception(RequestPayloadError("broken"))

    def _grow_head(self, size: int) -> None:
        if not self.in_head:
            self.in_head = True
            self._owner.connections.wait(self)
        self._head_size += size
        if self._head_size > self._owner.connections.settings.header_size:
            self.refuse(HeadTooLarge())

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused, in place of aiohttp's page, which echoes it."""
        error: ProxyError = MalformedRequest() if status == 400 else InternalError()
        if isinstance(exc, LineTooLong):
            error = TargetTooLong() if exc.args[1] == self._owner.connections.settings.header_size else HeadTooLarge()
        elif message and "Too many headers" in message:
            error = HeadTooLarge()
        return cast("web.StreamResponse", Done(keep_alive=False, data=self._owner.refusal(error)))

    # -- what the server calls -----------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether a byte has come of the head that it is in."""
        return self._head_size > 0

    def rest(self) -> None:
        """Wait for the next request, unless it is here already."""
        if self.transport is not None and not self._messages:
            self.in_head = False
            self._owner.connections.wait(self)

    def refuse(self, error: ProxyError) -> None:
        """Answer what is no complete request yet, and close."""
        if self.transport is not None:
            self.transport.write(self._owner.refusal(error))
        self.force_close()

    def cancel(self) -> None:
        """End the request under way."""
        if self._task_handler is not None:
            self._task_handler.cancel()

    # -- Wire ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """As `Wire.write`."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)

    async def drain(self) -> None:
        """As `Wire.drain`."""
        if self.writing_paused:
            await self._drain_helper()

    def abort(self) -> None:
        """As `Wire.abort`: with a reset, which also those see who wait for the end of the connection."""
        transport = self.transport
        if transport is not None:
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.family != getattr(socket, "AF_UNIX", None):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.force_close()

    async def read(self) -> bytes:
        """As `Wire.read`."""
        if self._duplex is None:
            if self.transport is None:
                return b""
            self._duplex = Upgraded(self.transport)
            self.set_parser(self._duplex)  # type: ignore[arg-type]  # all it needs is feed_data and feed_eof
        return await self._duplex.read()


def _expects_continue(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in fields)


class Server:
    """Serves a gateway to clients; one for all listeners.

    Args:
        forward: answers requests.
        observe: told the story of each request when it is over.

    Attributes:
        connections: who is connected.

    """

    def __init__(self, forward: Forward, settings: ConnectionSettings, clock: Clock, observe: Observe) -> None:
        self.forward = forward
        self.connections = Connections(settings, clock)
        self._clock = clock
        self._observe = observe
        self.web_server = web.Server(self._handle, handler_cancellation=True)  # type: ignore[arg-type]  # Done is enough

    def protocol(self, entrance: Entrance) -> Callable[[], Connection]:
        """Return what makes the protocols of a listener."""
        return lambda: Connection(self, entrance)

    # -- requests ------------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> Done:
        connection = cast("Connection", request.protocol)
        inbound = self._inbound(connection, request)
        head_written = False
        answer: Answer | None = None
        try:
            answer = await self._answer(inbound, request)
            framed = self._framed(answer, inbound, request)
            head_written = True
            await send(connection, answer, framed, head_bytes(answer, framed, inbound.version), inbound.story)
        except ConnectionError:
            # The client has gone, or was broken off because the upstream did.
            return Done(keep_alive=False)
        except asyncio.CancelledError:
            if self.connections.draining and not head_written:
                connection.refuse(ShuttingDown(retry_after=1))
            raise
        finally:
            try:
                if answer is not None and answer.cleanup is not None:
                    await answer.cleanup()
            finally:
                self._finish(inbound.story, answer)
        if isinstance(inbound.body, Intake):
            inbound.body.leave()
        connection.served += 1
        # Until the rest of the body has come, too, it is no head that comes.
        request.content.on_eof(connection.rest)
        return Done(keep_alive=framed.keep_alive)

    def _inbound(self, connection: Connection, request: web.BaseRequest) -> Inbound:
        target = request.raw_path.encode("utf-8", "surrogateescape")
        version = (request.version[0], request.version[1])
        path = target.partition(b"?")[0].decode("ascii", "replace")
        story = Story(request.method, path, self._clock.monotonic())
        inbound = Inbound(request.method, target, request.raw_headers, version, connection.entrance, story)
        if request.body_exists:
            inbound.body = Intake(
                request.content,
                connection,
                expected=version >= (1, 1) and _expects_continue(request.raw_headers),
                timeout=self.connections.settings.body_timeout,
            )
            inbound.length = request.content_length
        return inbound

    async def _answer(self, inbound: Inbound, request: web.BaseRequest) -> Answer:
        size = len(inbound.target) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if size > self.connections.settings.header_size:
            return problem(HeadTooLarge(), inbound.story)
        return await self.forward(inbound)

    def _framed(self, answer: Answer, inbound: Inbound, request: web.BaseRequest) -> Framing:
        keep_alive = request.keep_alive and not self.connections.draining
        if isinstance(inbound.body, Intake) and inbound.body.is_unwanted:
            # Whether the body will come nevertheless, only the client knows.
            keep_alive = False
        inbound.story.status = answer.status
        return framing(answer, inbound.method, inbound.version, keep_alive=keep_alive)

    def _finish(self, story: Story, answer: Answer | None) -> None:
        if answer is None:
            story.failure = story.failure or "the client went away"
        self._observe(story)

    def refusal(self, error: ProxyError) -> bytes:
        """Return the bytes of an answer to what never became a request."""
        story = Story("-", "", self._clock.monotonic(), status=error.status)
        answer = problem(error, story)
        story.returned = len(answer.body) if isinstance(answer.body, bytes) else 0
        self._observe(story)
        framed = Framing(has_body=True, chunked=False, keep_alive=False)
        head = head_bytes(answer, framed, (1, 1))
        return head + cast("bytes", answer.body)
