"""What may go wrong on the way to an API, times methods: the status, the error, and how often it was asked.

What could have been executed is asked again only if the method allows it, or the client gave an ``Idempotency-Key``;
where nothing was sent any method is tried again, but for a certificate that is not trusted.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.journeys.conftest import Build
from tests.journeys.wires import HEAD, OK, Line, Message, Step, closing, early

ATTEMPTS = 3
RETRY = {"attempts": ATTEMPTS, "backoff": 0, "budget": 1.0}
FIELDS = b" /x HTTP/1.1\r\nHost: localhost\r\n"
BODY = b"Content-Length: 5\r\n\r\nhello"
REQUESTS = {
    "GET": HEAD,
    "PUT": b"PUT" + FIELDS + BODY,
    "POST": b"POST" + FIELDS + BODY,
    "PATCH": b"PATCH" + FIELDS + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST with a key": b"POST" + FIELDS + b"Idempotency-Key: a\r\n" + BODY,
}
UNSAFE = {"POST", "PATCH"}
ONCE = {"garbage", "silent", "silent in its head"}  # no HTTP the next time either, or perhaps still at work
NAMELESS = "no-such-name.invalid"


# -- after it was sent -----------------------------------------------------------------------------------


def ending(data: bytes, how: str) -> Step:
    async def step(_: Message, line: Line) -> None:
        await line.send(data)
        await (line.rest() if how == "hang" else asyncio.sleep(0))
        line.reset()

    return step


async def _unread(_: Message, line: Line) -> None:
    line.reset()


HALF = b"HTTP/1.1 200 OK\r\nA: b\r\n"
LATER = {
    "closed": (closing(), 502, "connection_terminated"),
    "reset": (ending(b"", "reset"), 502, "connection_terminated"),
    "reset before it was read": (early(_unread), 502, "connection_terminated"),
    "closed in its first line": (closing(b"HTTP/1.1 20"), 502, "http_response_incomplete"),
    "closed in its head": (closing(HALF), 502, "http_response_incomplete"),
    "closed after an interim answer": (closing(b"HTTP/1.1 100 Go\r\n\r\n"), 502, "http_response_incomplete"),
    "silent": (ending(b"", "hang"), 504, "connection_read_timeout"),
    "silent in its head": (ending(HALF, "hang"), 504, "connection_read_timeout"),
    "garbage": (closing(b"\x15\x03\x01\x00\x02\x02\x0a"), 502, "http_protocol_error"),
}


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("fault", LATER)
async def test_what_was_sent_is_sent_again_only_if_it_may_be(build: Build, fault: str, method: str) -> None:
    step, status, error = LATER[fault]
    house = await build(retry=RETRY, timeout={"read": 0.05})
    house.api.always = step
    seen = await house.ask(REQUESTS[method])
    assert (seen.status, seen.error) == (status, error)
    assert len(house.api.messages) == (1 if method in UNSAFE or fault in ONCE else ATTEMPTS)
    bodies = {message.body for message in house.api.messages}
    assert bodies == {b"" if method == "GET" or fault == "reset before it was read" else b"hello"}


@pytest.mark.parametrize("method", REQUESTS)
@pytest.mark.parametrize("fault", ["closed", "reset", "silent"])
async def test_so_it_is_over_a_connection_that_was_kept(build: Build, fault: str, method: str) -> None:
    step, status, error = LATER[fault]
    house = await build(OK, retry=RETRY, timeout={"read": 0.05})
    house.api.always = step
    assert (await house.ask()).status == 200
    seen = await house.ask(REQUESTS[method])
    assert (seen.status, seen.error) == (status, error)
    # The kept one that was closed is replaced, and does not count.
    assert len(house.api.messages) == 1 + (1 if method in UNSAFE or fault in ONCE else ATTEMPTS + 1)


# -- before anything was sent ----------------------------------------------------------------------------


class Trouble:
    """Somebody who can't be called.

    Attributes:
        port: where.
        host: by which name.
        heard: what came there nevertheless, below TLS if that was agreed on.

    """

    def __init__(self, port: int = 0, host: str = "localhost") -> None:
        self.port = port
        self.host = host
        self.heard: list[bytes] = []


Call = Callable[[trustme.CA], AbstractAsyncContextManager[Trouble]]


@asynccontextmanager
async def refusing(_: trustme.CA) -> AsyncIterator[Trouble]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        yield Trouble(taken.getsockname()[1], "127.0.0.1")


@asynccontextmanager
async def unknown(_: trustme.CA) -> AsyncIterator[Trouble]:
    asked = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host in (NAMELESS, NAMELESS.encode()):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return asked(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)  # real name servers take seconds, or none is there
        yield Trouble(443, NAMELESS)


@asynccontextmanager
async def swallowing(_: trustme.CA) -> AsyncIterator[Trouble]:
    """The kernel completes as many handshakes as fit its queue, and drops what comes then: a black hole."""
    with ExitStack() as stack:
        hole = stack.enter_context(socket.socket())
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for _turn in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(hole.getsockname())
        yield Trouble(hole.getsockname()[1], "127.0.0.1")


@asynccontextmanager
async def listening(trouble: Trouble, says: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Trouble]:
    """Hear what comes, and say something to it; None for never."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            trouble.heard.append(await reader.read(1 << 16))
            if says is None:
                await reader.read()
            else:
                writer.write(says)
        except OSError:
            pass  # the other side had enough
        finally:
            writer.close()

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # handshakes that failed
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    trouble.port = server.sockets[0].getsockname()[1]
    try:
        yield trouble
    finally:
        server.close()


def plain(says: bytes | None) -> Call:
    return lambda _: listening(Trouble(), says)


def secured(
    leaf: Callable[[trustme.CA], trustme.LeafCert], adapt: Callable[[ssl.SSLContext, trustme.CA], None] | None = None
) -> Call:
    def call(authority: trustme.CA) -> AbstractAsyncContextManager[Trouble]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["h2", "http/1.1"])
        leaf(authority).configure_cert(context)
        if adapt is not None:
            adapt(context, authority)
        return listening(Trouble(), OK, context)

    return call


def right(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert("localhost")


def expired(authority: trustme.CA) -> trustme.LeafCert:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return authority.issue_cert("localhost", not_before=yesterday - timedelta(days=9), not_after=yesterday)


def old(context: ssl.SSLContext, _: trustme.CA) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1


def asking(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext, trustme.CA], None]:
    """Want a client certificate."""

    def adapt(context: ssl.SSLContext, authority: trustme.CA) -> None:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = version

    return adapt


UNTRUSTED: dict[str, Call] = {
    "the certificate of another host": secured(lambda authority: authority.issue_cert("other.example")),
    "a certificate that has expired": secured(expired),
    "a certificate of nobody known": secured(lambda _: trustme.CA().issue_cert("localhost")),
}
EARLIER: dict[str, tuple[Call, int, str]] = {
    "refuses": (refusing, 502, "connection_refused"),
    "has no address": (unknown, 502, "dns_error"),
    "black hole": (swallowing, 504, "connection_timeout"),
    **{name: (call, 502, "tls_certificate_error") for name, call in UNTRUSTED.items()},
    "TLS that is too old": (secured(right, old), 502, "tls_protocol_error"),
    "HTTP without TLS": (plain(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 502, "tls_protocol_error"),
    "closes instead of TLS": (plain(b""), 502, "tls_protocol_error"),
    "silence instead of TLS": (plain(None), 504, "connection_timeout"),
    "wants a client certificate": (secured(right, asking(ssl.TLSVersion.TLSv1_2)), 502, "tls_protocol_error"),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """Who is trusted, and the file that says so."""
    made = trustme.CA()
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    made.cert_pem.write_to_path(path)
    return made, path


@pytest.mark.parametrize("http2", [False, True], ids=["1.1", "2"])
@pytest.mark.parametrize("fault", EARLIER)
async def test_where_nothing_was_sent_any_method_is_tried_again(
    lead: Build, authority: tuple[trustme.CA, Path], fault: str, http2: bool
) -> None:
    call, status, error = EARLIER[fault]
    ca, path = authority
    async with call(ca) as trouble:
        house = await lead(
            upstream=f"https://{trouble.host}:{trouble.port}",
            tls={"ca": str(path)},
            http2=http2,
            retry=RETRY,
            timeout={"connect": 0.05 if error == "connection_timeout" else 5},
        )
        for request in REQUESTS.values():
            seen = await house.ask(request)
            assert (seen.status, seen.error) == (status, error)
    attempts = re.findall(r'"attempts": (\d)', house.proxy.lines)
    # What is no TLS, or is not trusted, is the same at the next attempt.
    once = fault in UNTRUSTED or fault == "HTTP without TLS"
    assert attempts == ["1" if once else str(ATTEMPTS)] * len(REQUESTS)
    assert b"localhost\r\n" not in b"".join(trouble.heard)
    assert not any(re.search(rb"GET|POST|HTTP|Authorization|hello", heard) for heard in trouble.heard)


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_client_certificate_that_is_missed_later_is_no_reason_to_post_twice(
    lead: Build, authority: tuple[trustme.CA, Path], method: str
) -> None:
    """In TLS 1.3 the handshake is over for the client before the server has judged it; a request may be on its way."""
    ca, path = authority
    async with secured(right, asking(ssl.TLSVersion.TLSv1_3))(ca) as trouble:
        house = await lead(upstream=f"https://localhost:{trouble.port}", tls={"ca": str(path)}, retry=RETRY)
        seen = await house.ask(REQUESTS[method])
        assert seen.status == 502
        assert seen.error in ("tls_protocol_error", "connection_terminated")  # the server's reset may outrun its alert
    assert f'"attempts": {1 if method in UNSAFE else ATTEMPTS}' in house.proxy.lines
    assert trouble.heard == []
