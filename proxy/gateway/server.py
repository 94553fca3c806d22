"""aiohttp's server and what it lacks: the only file of the way that knows it.

Heads are read and written as raw bytes, so that nothing is lost that is no UTF-8, and nothing of aiohttp's own
shows: no error page, no ``Server``, no unpacked body. A request becomes an `Inbound`, an `Answer` is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler, RequestPayloadError

from proxy.clock import Clock
from proxy.errors import ConfigError, HeadTooLarge, ProxyError, TargetTooLong
from proxy.gateway import Entrance, Forward, Head, Inbound, Story
from proxy.gateway.bulk import Bulk
from proxy.gateway.chunks import Chunks
from proxy.gateway.connections import ConnectionSettings
from proxy.gateway.duplex import Upgraded
from proxy.gateway.ending import Ending
from proxy.gateway.headers import read, tokens
from proxy.gateway.intake import Intake
from proxy.gateway.parsed import Refusal, fault, judged
from proxy.gateway.reading import Reading
from proxy.gateway.service import Observe, Service, Warn
from proxy.gateway.stalled import reset_on_close

MOST_FIELDS = 128
_BUFFER = 1 << 16
_LINGER = 10.0  # seconds


class Connection(Reading, Ending, RequestHandler):  # type: ignore[misc]  # aiohttp keeps none that has ended
    """A client's connection; as a `Wire`, its writing side.

    Attributes:
        entrance: the listener by which it came.
        since: event loop time since when it is idle or in its head.
        served: how many requests it has brought to their end.

    """

    __slots__ = (
        "_ahead", "_asked_to_close", "_at", "_begun", "_body", "_bulk", "_chunks", "_connections", "_duplex", "_ended",
        "_fed", "_head", "_intake", "_method", "_owner", "_payload", "_pipe", "_rest", "_seen", "_story", "entrance",
        "in_head", "served", "since",
    )  # fmt: skip

    def __init__(self, owner: Server, entrance: Entrance) -> None:
        settings = owner.connections.settings
        super().__init__(
            owner.web_server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # allowed, but not annotated
            auto_decompress=False,
            keepalive_timeout=0,  # connections are swept, all together
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
        self._head: Head | None = None
        self._begun = bytearray()  # of a head that is not complete
        self._fed = 0
        self._method = ""
        self._ahead, self._at = b"", 0
        self._payload: StreamReader | None = None
        self._rest = 0
        self._chunks: Chunks | None = None
        self._seen = False
        self._asked_to_close = False
        self._ended = False
        self._connections = owner.connections
        self._story: Story | None = None
        self._body: StreamReader | Bulk | None = None
        self._bulk: Bulk | None = None
        self._intake: Intake | None = None
        self._duplex: Upgraded | None = None

    # -- what aiohttp calls --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place among the connections."""
        self._pipe = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._connections.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the place."""
        self._connections.leave(self)
        super().connection_lost(exc)
        self._connections.stalled.forget(self._pipe)

    def _judge(self, head: bytes, method: str) -> StreamReader | None:
        message: Any  # Any: one of two of aiohttp's, as `judged` has it
        message, body = self._messages[-1]
        limit = self._connections.settings.header_size
        if (
            body is EMPTY_PAYLOAD
            and not method
            and type(message) is RawRequestMessage
            and not message.upgrade
            and len(head) <= limit
            and head.find(b"RTSP/") < 0  # "in" raises and catches a TypeError first, in bytes (CPython 3.11)
        ):
            return None  # the hot path
        has_body = body is not EMPTY_PAYLOAD
        message = judged(message, head, method=method, limit=limit, has_body=has_body, upgraded=self._upgraded)
        self._messages[-1] = (message, body)
        if not has_body or body.is_eof() or isinstance(message, Refusal):
            return None
        if message.chunked:
            self._chunks = Chunks(limit)
        else:
            self._rest = _length(message.headers["Content-Length"])
        assert isinstance(body, StreamReader)
        return body

    def _new_parser(self) -> HttpRequestParser:
        """Return one as aiohttp makes it for a connection."""
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )

    async def start(self) -> None:
        """Serve until the end; in place of aiohttp's, which makes a task and more for each request."""
        try:
            await self._serve_all()
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:
            pass  # the client has gone, or was broken off because the upstream did
        except Exception as failure:  # noqa: BLE001  # the last line of defence; what it says could hold a secret
            self.logger.error("an unexpected %s while serving", type(failure).__name__)
        if self.transport is not None:
            self._task_handler = None
            self.force_close()

    async def _serve_all(self) -> None:
        while not (self._close or self._force_close):
            if not self._messages:
                if self._ended:
                    return
                self._waiter = self._loop.create_future()
                await self._waiter
                self._waiter = None
            message, body = self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if not await self._serve(cast("RawRequestMessage", message), body):
                break
            if self._upgraded:
                self._decline_upgrade()
            self.rest()

    async def _serve(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Answer one request; return whether there may be another."""
        if not hasattr(message, "raw_headers"):
            self.refuse(self._fault(message))
            return False
        self._asked_to_close = message.should_close
        inbound = self._inbound(message)
        self._story = inbound.story
        if payload is EMPTY_PAYLOAD:
            stays = await self._owner.serve(self, inbound)
            self.served += 1
            return stays
        intake, body = self._taken_in(inbound, payload)
        inbound.body, self._intake, self._body = intake, intake, body
        inbound.whole = intake.whole
        try:
            stays = await self._owner.serve(self, inbound)
            self.served += 1
            intake.leave()
            return (body.is_eof() or await self._swallow(body, stays=stays)) and stays
        finally:
            self._body = self._intake = None

    def _inbound(self, message: RawRequestMessage) -> Inbound:
        head = self._head
        if head is None or head.raw != message.raw_headers:
            head = self._head = read(message.raw_headers)
        target = message.path
        return Inbound(
            message.method,
            target.encode("utf-8", "surrogateescape"),
            head,
            message.version,
            self.entrance,
            Story(message.method, target, self._owner.clock.monotonic()),
        )

    def _taken_in(self, inbound: Inbound, payload: StreamReader) -> tuple[Intake, StreamReader | Bulk]:
        head = inbound.head
        length = head.first(b"content-length")
        inbound.length = None if length is None else _length(length)
        expected = inbound.version >= (1, 1) and bool(tokens(head.special.get(b"expect", ())))
        body = payload if inbound.length is None else self._past_parser(payload, inbound.length)
        return Intake(body, self, expected=expected, timeout=self._connections.settings.body_timeout), body

    def _decline_upgrade(self) -> None:
        """Read on as HTTP after a request whose upgrade was not followed; the parser has stopped there."""
        if self._parser is not None and self._payload_parser is None:
            self._parser.set_upgraded(False)
            self._upgraded = False

    async def _swallow(self, body: StreamReader | Bulk, *, stays: bool) -> bool:
        """Read what is left of a body, for a while: a client that sends does not read; say whether it ended."""
        if not stays and self.transport is not None:
            self.transport.write_eof()  # who does read sees that there will be no more
        try:
            async with asyncio.timeout(_LINGER):
                while not body.is_eof():
                    await body.readany()
        except (TimeoutError, RequestPayloadError, ProxyError):
            return False
        return True

    def _fault(self, info: Any) -> ProxyError:  # Any: aiohttp keeps its name to itself
        exc = getattr(info, "exc", None)
        if isinstance(exc, LineTooLong):
            return TargetTooLong() if exc.args[1] == self._connections.settings.header_size else HeadTooLarge()
        return fault(info)

    # -- what the server calls -----------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        """Whether a byte has come of the head that it is in."""
        return bool(self._begun)

    def rest(self) -> None:
        """Wait for the next request, and begin with what has come of it."""
        if self.transport is not None:
            self.in_head = False
            self._connections.wait(self)
            if self._ahead:
                self._take(self._ahead, self._at)

    def refuse(self, error: ProxyError) -> None:
        """Answer what is no complete request yet, and close."""
        if self.transport is not None:
            self.part(self._owner.refusal(error))

    def cancel(self) -> None:
        """End the request under way."""
        if self._task_handler is not None:
            self._task_handler.cancel()

    @property
    def stays(self) -> bool:
        """As `Peer.stays`."""
        # Whether a body that was not asked for will come nevertheless, only the client knows.
        if self._asked_to_close or (self._ended and not self._ahead):
            return False
        return not (self._intake is not None and self._intake.is_unwanted)

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
            reset_on_close(transport)
        self.force_close()

    async def read(self) -> bytes:
        """As `Wire.read`."""
        if self._duplex is None:
            if self.transport is None:
                return b""
            self._duplex = Upgraded(self.transport)
            ahead, self._ahead = self._ahead[self._at :], b""
            if ahead:
                self._duplex.feed_data(ahead)
            self.set_parser(self._duplex)  # type: ignore[arg-type]  # all it needs is feed_data and feed_eof
        return await self._duplex.read()


def require_parser() -> None:
    """Refuse to serve with aiohttp's parser in Python, which frames some messages in another way.

    Raises:
        ConfigError: there is no other.

    """
    if HttpRequestParser is HttpRequestParserPy:
        raise ConfigError(
            "aiohttp runs without its C parser; expected its extension modules, and AIOHTTP_NO_EXTENSIONS not set"
        )


def _length(digits: str | bytes) -> int:
    # The parser has seen that it is a number of 64 bits; of thousands of zeros Python would make none.
    return int(digits[-20:])


async def _unused(request: web.BaseRequest) -> web.StreamResponse:  # noqa: ARG001  # as aiohttp has it
    """Stand where aiohttp wants a handler."""
    raise AssertionError("only aiohttp's own `start` would call it, and `Connection` has another")


class Server(Service):
    """Serves a gateway to clients; one for all listeners.

    Args:
        forward: answers requests.
        observe: told the story of each request when it is over.
        warn: given a line for the log.

    """

    def __init__(
        self,
        forward: Forward,
        settings: ConnectionSettings,
        clock: Clock,
        observe: Observe,
        warn: Warn = lambda line: None,  # noqa: ARG005
    ) -> None:
        super().__init__(forward, settings, clock, observe, warn)
        self.web_server = web.Server(_unused, handler_cancellation=True)

    def protocol(self, entrance: Entrance) -> Callable[[], Connection]:
        """Return what makes the protocols of a listener."""
        return lambda: Connection(self, entrance)
