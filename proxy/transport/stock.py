"""httpx's stock transport, its exceptions mapped: for token endpoints and whatever flows send elsewhere.

What httpcore knows of a failure is asked of its trace: no other way tells whether a byte had been sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import httpx

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    ConnectTimeout,
    DnsError,
    InternalError,
    OutgoingProxyError,
    OutOfSockets,
    ProxyError,
    ReadTimeout,
    ResponseIncomplete,
    Unroutable,
    UpstreamError,
    UpstreamProtocolError,
    WriteTimeout,
    WrongProtocol,
)
from proxy.transport.connect import OURS
from proxy.transport.handshake import handshake_failure
from proxy.transport.messages import CONTROL, TOKEN, raw_request
from proxy.transport.own import OwnAddresses
from proxy.transport.parser import Fields

_REFUSED_STREAM = 7  # nothing was done with the request (RFC 9113, section 8.7)
_LOWER = ("h11", "h2")  # whose exceptions httpcore does not map


class Facts:
    """What one sending has come to.

    Args:
        place: host and port that the request goes to.
        http2: refuse an upstream that does not agree to HTTP/2, before anything is sent.
        own: addresses that are refused likewise.
        made: told of a new connection: a network stream of httpcore's.
        read: seconds from the end of the request to the final head, and for each piece of the body; None for ever.

    Attributes:
        deadline: ends the wait for the final head, or for a piece of the body. httpcore waits anew after whatever it
            reads: interim responses (RFC 9110, section 15.2), pings, frames of other streams.

    """

    def __init__(
        self,
        *,
        place: str = "",
        http2: bool = False,
        own: OwnAddresses | None = None,
        made: Callable[[Any], None] = lambda stream: None,  # noqa: ARG005  # nobody wants to know
        read: float | None = None,
    ) -> None:
        self.place = place
        self._http2 = http2
        self._own = own
        self._made = made
        self._read = read or None
        self.deadline = asyncio.timeout_at(None)
        self.connected = False
        self.reached = False  # by TCP
        self.tunnelling = False  # CONNECT is under way, whose messages are not the request's
        self.sent = False
        self.complete = False  # the request
        self.begun = False  # the answer
        self._half: Any = None  # a network stream of httpcore's, while nobody else would close it

    def _completed(self) -> None:
        self.complete = True
        if self._read is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + self._read)

    def timed(self) -> asyncio.Timeout:
        """Return a new deadline, for a piece of the body."""
        self.deadline = asyncio.timeout(self._read)
        return self.deadline

    async def abandon(self) -> None:
        """Close a connection that is not through with its handshake: httpcore forgets it when it is cancelled."""
        half, self._half = self._half, None
        if half is not None:
            await half.aclose()

    async def __call__(self, event: str, info: dict[str, Any]) -> None:  # Any: httpcore's signature
        """Note an event of httpcore's trace."""
        if event.startswith("connection.connect_"):
            self.connected = True
            self._half = info.get("return_value")
            self.reached = self.reached or event.endswith("tcp.complete")
            if self._own is not None and event.endswith("tcp.complete"):
                await _other(info["return_value"], self._own)
        elif event.endswith(".start_tls.complete"):
            self._half = None
            self._made(info["return_value"])
            if self._http2:
                await _agreed(info["return_value"])
        elif event.endswith(".start_tls.started"):
            self.tunnelling = False
        elif event.endswith("send_request_headers.started"):
            self.tunnelling = getattr(info.get("request"), "method", b"") == b"CONNECT"
            self.sent = not self.tunnelling
        elif self.tunnelling:
            return
        elif event.endswith("send_request_body.complete"):
            self._completed()
        elif event.endswith("receive_response_headers.complete"):
            self.begun = True


async def _other(stream: Any, own: OwnAddresses) -> None:  # Any: as below
    """See that it is not ourselves who were connected to."""
    wire = stream.get_extra_info("socket")
    try:
        own.refuse(wire, wire.getpeername()[1])
    except BaseException:
        await stream.aclose()
        raise


async def _agreed(stream: Any) -> None:  # Any: a network stream of httpcore's
    """See that HTTP/2 was agreed on: httpcore would go on with HTTP/1.1, and keep less than ours does."""
    if stream.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
        await stream.aclose()
        raise WrongProtocol("the upstream does not speak HTTP/2; expected http2 = false")


class StockTransport(httpx.AsyncBaseTransport):
    """``httpx.AsyncHTTPTransport`` with the errors of this project.

    Args:
        tls: makes the context, when one is needed for the first time: that takes longer than all else.
        connect: seconds to connect, or None.
        read: seconds between two pieces, or None.
        proxy: an outgoing proxy, ``http://[user:password@]host:port``.
        http2: HTTP/2, and nothing else, for https.
        own: addresses that are refused, since whoever sends listens there itself.

    """

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        *,
        connect: float | None = 5.0,
        read: float | None = 60.0,
        proxy: httpx.URL | None = None,
        http2: bool = False,
        own: OwnAddresses | None = None,
    ) -> None:
        self._timeout = {"connect": connect, "read": read, "write": read, "pool": None}
        self._tls = tls
        self._proxy = proxy
        self._http2 = http2
        self._own = own
        self._latest: Any = None  # connection: a network stream of httpcore's

    @cached_property
    def _inner(self) -> httpx.AsyncHTTPTransport:
        from proxy.transport.backend import dialled  # here, where it is needed: httpcore takes long to import

        # No limit on connections: httpcore loses a slot with each cancelled request. HTTP/1.1 connections are not kept:
        # httpcore does not read Keep-Alive, and a token request that meets the end of one may spend a refresh token.
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=20 if self._http2 else 0, keepalive_expiry=15
        )
        made = httpx.AsyncHTTPTransport(
            verify=self._tls(), trust_env=False, limits=limits, proxy=self._proxy, http2=self._http2
        )
        dialled(made)
        return made

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As its base class.

        Raises:
            UpstreamError: what failed.

        """
        place = request.url.netloc.decode("ascii")
        read = self._timeout["read"]
        facts = Facts(place=place, http2=self._http2, own=self._own, made=self._made, read=read)
        extensions = {**request.extensions, "timeout": self._timeout, "trace": facts}
        # httpcore would send it to an outgoing proxy as well, in the place of CONNECT's own.
        target = extensions.pop("target", None)
        url = request.url if target is None else Aimed(request.url, target)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        sent = raw_request(request.method, url, request.headers.raw, request.stream, extensions)
        try:
            with mapped(facts, by_proxy=self._proxy is not None):
                async with facts.deadline:
                    response = await self._inner.handle_async_request(sent)
        except BaseException:
            await facts.abandon()
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = MappedStream(response.stream, facts)
        if response.status_code == 407 and self._proxy is not None and request.url.scheme == "http":
            await response.aclose()
            raise OutgoingProxyError("the outgoing proxy answered 407", sent=True, begun=True)
        fault = flaw(response.status_code, response.headers.raw)
        if fault:
            await response.aclose()
            raise UpstreamProtocolError(fault, sent=True, begun=True)
        return response

    async def aclose(self) -> None:
        """Close all connections."""
        if "_inner" in self.__dict__:
            await self._inner.aclose()
        if self._latest is not None:
            # httpcore forgets a connection for which somebody waited who was cancelled.
            await self._latest.aclose()

    def _made(self, stream: Any) -> None:  # Any: as above
        self._latest = stream


def flaw(status: int, fields: Fields) -> str:
    """Say what of a response's head HTTP/1.1 could not repeat without another meaning; empty if all is well.

    HTTP/2 frames names and values by their lengths, and h2 passes on whatever is in them (RFC 9113, section 8.2.1).
    """
    if not 100 <= status <= 599:
        return "the status of the response is not one"
    for name, value in fields:
        if not TOKEN.fullmatch(name):
            return "the name of a field of the response is not a token"
        if CONTROL.search(value):
            return "a field of the response holds a control character"
    if sum(name.lower() == b"content-length" for name, _ in fields) > 1:
        return "the response has more than one Content-Length"
    return ""


class Aimed(httpx.URL):
    """A URL whose path and query are sent as they are given."""

    def __init__(self, url: httpx.URL, target: bytes) -> None:
        super().__init__(url)
        self._target = target

    @property
    def raw_path(self) -> bytes:
        """The request target."""
        return self._target


class MappedStream(httpx.AsyncByteStream):
    """An answer's body, whose errors are ours."""

    def __init__(self, inner: httpx.AsyncByteStream, facts: Facts) -> None:
        self._inner = inner
        self._facts = facts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        with mapped(self._facts):
            while True:
                async with self._facts.timed():
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                yield piece

    async def aclose(self) -> None:
        """Give the connection back or close it."""
        await self._inner.aclose()


@contextmanager
def mapped(facts: Facts, *, by_proxy: bool = False) -> Iterator[None]:
    """Translate httpx's exceptions, here and nowhere else."""
    try:
        yield
    except httpx.HTTPError as failure:
        if by_proxy and (problem := _of_proxy(failure, facts)) is not None:
            raise problem from failure
        raise translate(failure, facts) from failure
    except TimeoutError as failure:
        if not facts.deadline.expired():
            raise
        raise ReadTimeout(sent=True, reused=not facts.connected, begun=facts.begun) from failure
    except ValueError as failure:
        raise _refused(facts) from failure  # httpcore makes a number of whatever HTTP/2 has as its status
    except Exception as failure:
        # httpcore lets through as it is what the layer below it refuses to send, or to read.
        if type(failure).__module__.partition(".")[0] in _LOWER:
            raise _refused(facts) from failure
        raise


def _of_proxy(failure: httpx.HTTPError, facts: Facts) -> UpstreamError | None:
    """Return what it means that an outgoing proxy failed, None if it was not that which failed."""
    if isinstance(failure, httpx.ProxyError):
        status = str(failure).partition(" ")[0]  # what follows is the proxy's own text
        return OutgoingProxyError(f"the outgoing proxy answered {status}" if status.isdigit() else "")
    if isinstance(failure, httpx.ConnectError) and not facts.reached:
        is_ours = isinstance(_connect_error(failure, facts.place), OutOfSockets)
        return None if is_ours else OutgoingProxyError("the outgoing proxy can't be reached")
    if not facts.tunnelling:
        return None
    if isinstance(failure, httpx.TimeoutException):
        return ConnectTimeout()
    return OutgoingProxyError("the outgoing proxy gave no proper answer")


def translate(failure: httpx.HTTPError, facts: Facts) -> ProxyError:
    """Return the error of ours that `failure` is."""
    kind: type[UpstreamError]
    match failure:
        case httpx.ConnectTimeout():
            kind = ConnectTimeout
        case httpx.WriteTimeout():
            kind = WriteTimeout
        case httpx.TimeoutException():
            kind = ReadTimeout
        case httpx.ProxyError():
            kind = OutgoingProxyError
        case httpx.ConnectError():
            return _connect_error(failure, facts.place)
        case httpx.NetworkError():
            kind = ResponseIncomplete if facts.begun else ConnectionTerminated
        case httpx.RemoteProtocolError():
            kind = _protocol_error(failure, facts)
        case _:
            return _refused(facts)
    return kind(sent=facts.sent, reused=facts.sent and not facts.connected, begun=facts.begun)


def _refused(facts: Facts) -> ProxyError:
    """Return what it means that h11 or h2 refused something: after the request, what was to be read."""
    if facts.complete:
        return UpstreamProtocolError(sent=True, begun=True)
    return InternalError()


def _protocol_error(failure: httpx.RemoteProtocolError, facts: Facts) -> type[UpstreamError]:
    """Tell an end, of the connection or of a stream in it, from what is no HTTP."""
    event = (failure.__cause__ or failure).args[0]
    code = getattr(event, "error_code", None)  # of HTTP/2's GOAWAY and RST_STREAM
    if code == _REFUSED_STREAM:
        facts.sent = False
    if facts.begun:
        return ResponseIncomplete
    if code is not None or "disconnected" in str(failure):
        return ConnectionTerminated
    facts.begun = True
    return UpstreamProtocolError


_CAUSES: tuple[tuple[type[BaseException], type[UpstreamError]], ...] = (
    (socket.gaierror, DnsError),
    (ConnectionRefusedError, ConnectionRefused),
)


def _connect_error(failure: BaseException, place: str) -> UpstreamError:
    """Return what it means that there is no connection to `place`: nothing was sent."""
    pending: list[BaseException | None] = [failure]
    seen: list[BaseException] = []
    while pending:
        current = pending.pop()
        if current is not None and current not in seen:
            seen.append(current)
            pending += [current.__cause__, current.__context__, *getattr(current, "exceptions", ())]
    if any(isinstance(found, OSError) and found.errno in OURS for found in seen):
        return OutOfSockets()
    for found in seen:
        if isinstance(found, ssl.SSLError):
            return handshake_failure(found, place)
    for cause, kind in _CAUSES:
        if any(isinstance(found, cause) for found in seen):
            return kind()
    return Unroutable()
