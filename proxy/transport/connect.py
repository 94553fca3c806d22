"""A connection to the origin: dialled, through an outgoing proxy if there is one, with TLS for https.

This is where the failures of sockets, resolvers and TLS become ours; nothing of the request has been sent by
then.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote_to_bytes

import httpx

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    ConnectTimeout,
    DnsError,
    OutgoingProxyError,
    OutOfSockets,
    TlsProtocolError,
    Unroutable,
    UpstreamError,
)
from proxy.transport.connection import Connection
from proxy.transport.dial import dial, dial_unix
from proxy.transport.handshake import MAYBE_PLAIN, handshake_failure
from proxy.transport.own import OwnAddresses
from proxy.transport.peers import require_trusted
from proxy.transport.resumption import Resuming

_PORTS = {"http": 80, "https": 443}
_SHUTDOWN = 1.0  # seconds for the end of TLS
_MAX_HEAD = 1 << 16  # bytes of the outgoing proxy's answer

_KINDS: tuple[tuple[type[OSError], type[UpstreamError]], ...] = (
    (socket.gaierror, DnsError),
    (TimeoutError, ConnectTimeout),
    (ConnectionRefusedError, ConnectionRefused),
    (FileNotFoundError, ConnectionRefused),
    (ConnectionError, ConnectionTerminated),
)
OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})  # nobody else's fault


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to an origin.

    Attributes:
        host, port: of the origin.
        tls: the context to use, None for plain HTTP.
        server_hostname: the name for SNI and the certificate.
        uds: the path of a unix socket to go to instead.
        proxy: the host and port of an outgoing proxy.
        proxy_authorization: the value that it wants, if any.
        tunnel: whether CONNECT is used for plain HTTP, too.
        timeout: seconds for all of it, None for ever.
        any_user: whether any user of this machine may listen on the unix socket.
        own: where it must not lead to.

    """

    host: str
    port: int
    tls: Resuming | None = None
    server_hostname: str | None = None
    uds: str | None = None
    proxy: tuple[str, int] | None = None
    proxy_authorization: bytes | None = field(default=None, repr=False)
    tunnel: bool = False
    timeout: float | None = None
    any_user: bool = False
    own: OwnAddresses = field(default_factory=OwnAddresses)

    @property
    def authority(self) -> bytes:
        """Host and port, as CONNECT names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("ascii")

    @property
    def absolute_form(self) -> bytes:
        """What stands before a target that goes to an outgoing proxy, b"" if it does not."""
        if self.proxy is None or self.tls is not None or self.tunnel or self.uds is not None:
            return b""
        return b"http://" + (self.authority.removesuffix(b":80"))


def host_port(url: httpx.URL) -> tuple[str, int]:
    """Return where a URL points to."""
    return url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]


def basic_authorization(url: httpx.URL) -> bytes | None:
    """Return the value for the userinfo of a URL (RFC 7617)."""
    if not url.userinfo:
        return None
    return b"Basic " + base64.b64encode(unquote_to_bytes(url.userinfo))


async def connect(way: Way, factory: Callable[[], Connection]) -> Connection:
    """Return a new connection.

    Raises:
        UpstreamError: there is none to be had.
        LoopDetected: it would lead to this process itself.
        UntrustedUpstream: it would lead to another user of this machine.

    """
    wire: socket.socket | None = None
    try:
        async with asyncio.timeout(way.timeout or None):
            wire = await _dialled(way)
            return await _secure(way, wire, factory)
    except OSError as failure:
        if wire is not None and isinstance(failure, TimeoutError):
            late = f"{_place(way)} did not complete the TLS handshake in time; {MAYBE_PLAIN}"
            raise ConnectTimeout(late) from failure
        raise explained(failure, way) from failure


async def _dialled(way: Way) -> socket.socket:
    if way.uds is not None:
        way.own.refuse_path(way.uds)
        return _trusted(await dial_unix(way.uds), way)
    if way.proxy is None:
        return _other(await dial(way.host, way.port), way.port, way)
    try:
        wire = _other(await dial(*way.proxy), way.proxy[1], way)
    except TimeoutError:
        raise
    except OSError as failure:
        if failure.errno in OURS:
            raise
        raise OutgoingProxyError("the outgoing proxy can't be reached") from failure
    if way.tls is not None or way.tunnel:
        try:
            await _ask_for_tunnel(wire, way)
        except BaseException:
            wire.close()
            raise
    return wire


def _trusted(wire: socket.socket, way: Way) -> socket.socket:
    """Return a connection that does not lead to another user."""
    try:
        if not way.any_user:
            require_trusted(wire)
    except BaseException:
        wire.close()
        raise
    return wire


def _other(wire: socket.socket, port: int, way: Way) -> socket.socket:
    """Return a connection that does not lead back to us."""
    try:
        way.own.refuse(wire, port)
    except BaseException:
        wire.close()
        raise
    return wire


async def _ask_for_tunnel(wire: socket.socket, way: Way) -> None:
    """CONNECT (RFC 9110, section 9.3.6).

    Raises:
        OutgoingProxyError: it does not want to.

    """
    loop = asyncio.get_running_loop()
    lines = [b"CONNECT %b HTTP/1.1" % way.authority, b"Host: " + way.authority]
    if way.proxy_authorization is not None:
        lines.append(b"Proxy-Authorization: " + way.proxy_authorization)
    answer = b""
    try:
        await loop.sock_sendall(wire, b"\r\n".join([*lines, b"", b""]))
        while b"\r\n\r\n" not in answer:
            piece = await loop.sock_recv(wire, 4096)
            answer += piece
            if not piece or len(answer) > _MAX_HEAD:
                raise OutgoingProxyError("the outgoing proxy gave no proper answer")
    except ConnectionError as failure:
        raise OutgoingProxyError("the outgoing proxy closed the connection") from failure
    _check_tunnel(answer)


def _check_tunnel(answer: bytes) -> None:
    version, _, rest = answer.partition(b" ")
    status = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit():
        raise OutgoingProxyError("the outgoing proxy gave no proper answer")
    if not status.startswith(b"2"):
        raise OutgoingProxyError(f"the outgoing proxy answered {int(status)}")
    if not answer.endswith(b"\r\n\r\n"):
        # In TLS and HTTP the client speaks first: these bytes are not the origin's.
        raise OutgoingProxyError("the outgoing proxy sent bytes of its own")


async def _secure(way: Way, wire: socket.socket, factory: Callable[[], Connection]) -> Connection:
    """Hand the socket over to the loop; from here on the loop's transport closes it, whatever happens."""
    loop = asyncio.get_running_loop()
    # The loops ask a context for nothing but what this has.
    tls = cast("ssl.SSLContext | None", way.tls)
    name = (way.server_hostname or way.host) if tls is not None else None
    patience = _SHUTDOWN if tls is not None else None
    try:
        if way.uds is not None:
            _, connection = await loop.create_unix_connection(
                factory, sock=wire, ssl=tls, server_hostname=name, ssl_shutdown_timeout=patience
            )
        else:
            _, connection = await loop.create_connection(
                factory, sock=wire, ssl=tls, server_hostname=name, ssl_shutdown_timeout=patience
            )
    except BaseException as failure:
        if way.tls is not None:
            way.tls.forget()
        if isinstance(failure, ConnectionError):
            closed = f"{_place(way)} closed the connection within the TLS handshake; {MAYBE_PLAIN}"
            raise TlsProtocolError(closed) from failure
        raise
    return connection


def explained(failure: OSError, way: Way) -> UpstreamError:
    """Return what a failure means; the text names the place and nothing else."""
    place = _place(way)
    if isinstance(failure, ssl.SSLError):
        return handshake_failure(failure, place)
    kind = next((ours for theirs, ours in _KINDS if isinstance(failure, theirs)), Unroutable)
    if failure.errno in OURS:
        return OutOfSockets()
    return kind(f"{kind.title} ({place})")


def _place(way: Way) -> str:
    return "the unix socket" if way.uds is not None else way.authority.decode("ascii")
