from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import trustme

from proxy.errors import (
    ConnectionRefused,
    ConnectionTerminated,
    ConnectTimeout,
    DnsError,
    OutgoingProxyError,
    OutOfSockets,
    TlsCertificateError,
    TlsProtocolError,
    Unroutable,
    UpstreamError,
    WrongProtocol,
)
from proxy.transport import HTTP11Transport, connect, dial
from proxy.transport.connect import Way, explained
from tests.transport.requests import OK, Pieces, fetch, get, post, until
from tests.transport.upstream import Line, Script, Upstream, always, answers

Certificates = tuple[ssl.SSLContext, ssl.SSLContext]
NOTHING = {"sent": False, "reused": False, "begun": False}


async def failure_of(transport: HTTP11Transport) -> UpstreamError:
    """Fail to connect; see that nothing was sent, and that no input or secret is in the text."""
    with pytest.raises(UpstreamError) as caught:
        await fetch(transport, get(b"/canary", (b"Authorization", b"canary")))
    failure = caught.value
    assert {"sent": failure.sent, "reused": failure.reused, "begun": failure.begun} == NOTHING
    assert "canary" not in f"{failure} {failure.detail}"
    await transport.aclose()
    return failure


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


# -- without TLS -------------------------------------------------------------------------------------


async def test_a_refused_connection_says_so_and_where() -> None:
    port = free_port()
    failure = await failure_of(HTTP11Transport(httpx.URL(f"http://127.0.0.1:{port}")))
    assert type(failure) is ConnectionRefused
    assert f"127.0.0.1:{port}" in failure.detail


async def test_a_name_without_an_address_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(host: str, port: int) -> socket.socket:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(connect, "dial", unknown)
    assert type(await failure_of(HTTP11Transport(httpx.URL("http://upstream.test")))) is DnsError


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (OSError(errno.EHOSTUNREACH, "canary"), Unroutable),
        (OSError(errno.ENETUNREACH, "canary"), Unroutable),
        (PermissionError(errno.EACCES, "canary"), Unroutable),
        (TimeoutError(errno.ETIMEDOUT, "canary"), ConnectTimeout),
        (ConnectionResetError(errno.ECONNRESET, "canary"), ConnectionTerminated),
        (FileNotFoundError(errno.ENOENT, "canary"), ConnectionRefused),
        (OSError(errno.EMFILE, "canary"), OutOfSockets),
        (ssl.SSLError(1, "canary"), TlsProtocolError),
        (ssl.SSLCertVerificationError(1, "canary"), TlsCertificateError),
    ],
)
def test_every_failure_of_the_system_is_one_of_ours(theirs: OSError, ours: type[UpstreamError]) -> None:
    failure = explained(theirs, Way("upstream.test", 80))
    assert type(failure) is ours
    assert "canary" not in failure.detail


@pytest.fixture
def no_socket_left() -> Iterator[Callable[[], None]]:
    """Take the last file descriptor away; they are back after the test."""
    resource = pytest.importorskip("resource", reason="there are no limits to set here")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[socket.socket] = []

    def take() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        with suppress(OSError):
            while True:
                taken.append(socket.socket())

    yield take
    for each in taken:
        each.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("through_proxy", [False, True])
async def test_without_a_file_descriptor_it_is_our_own_fault_and_passes(
    no_socket_left: Callable[[], None], through_proxy: bool
) -> None:
    async with Upstream(always(OK)) as upstream:
        proxy = upstream.url if through_proxy else None
        transport = HTTP11Transport(upstream.url, proxy=proxy)
        no_socket_left()
        assert type(await failure_of(transport)) is OutOfSockets


async def test_what_is_idle_elsewhere_makes_room_for_the_next_attempt(no_socket_left: Callable[[], None]) -> None:
    async with Upstream(always(OK)) as one, Upstream(always(OK)) as other:
        elsewhere, transport = HTTP11Transport(one.url), HTTP11Transport(other.url)
        await fetch(elsewhere, get())
        no_socket_left()
        assert elsewhere.idle == 1
        assert type(await failure_of(transport)) is OutOfSockets
        await until(lambda: elsewhere.open == 0)
        await transport.aclose()


async def test_the_name_is_asked_for_anew_for_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def watched(host: str, port: int) -> socket.socket:
        asked.append(host)
        return await dial.dial(host, port)

    monkeypatch.setattr(connect, "dial", watched)
    async with Upstream(always(OK)) as upstream:
        transport = HTTP11Transport(upstream.url)
        await fetch(transport, get())
        await fetch(transport, get())
        assert asked == ["127.0.0.1"]
        await asyncio.gather(fetch(transport, get()), fetch(transport, get()))
        assert asked == ["127.0.0.1"] * 2
        await transport.aclose()


async def test_a_unix_socket_is_an_upstream_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Upstream(always(OK), uds=Path("s")):
        transport = HTTP11Transport(httpx.URL("http://api.test"), uds="s")
        assert (await fetch(transport, get())).body == b"hello"
        assert (await fetch(transport, get())).body == b"hello"
        assert transport.open == 1
        await transport.aclose()
    missing = HTTP11Transport(httpx.URL("http://api.test"), uds="missing")
    assert type(await failure_of(missing)) is ConnectionRefused


# -- TLS ---------------------------------------------------------------------------------------------


async def test_tls_checks_the_name_and_speaks_http_1(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(always(OK), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        for _ in range(2):
            assert (await fetch(transport, get())).body == b"hello"
        seen = upstream.lines[0].writer.get_extra_info("ssl_object")
        assert seen.selected_alpn_protocol() == "http/1.1"
        assert len(upstream.lines) == 1
        await transport.aclose()


async def test_another_name_may_be_asked_for(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(always(OK), tls=server) as upstream:
        url = upstream.url.copy_with(host="127.0.0.1")
        transport = HTTP11Transport(url, ssl_context=client, server_hostname="localhost")
        assert (await fetch(transport, get())).status == 200
        await transport.aclose()
        failure = await failure_of(HTTP11Transport(url, ssl_context=client))
        assert type(failure) is TlsCertificateError
        assert "127.0.0.1" in failure.detail
        assert "ca =" not in failure.detail  # the authority is not what is wrong


async def test_a_certificate_that_is_not_trusted_says_so(certificates: Certificates) -> None:
    server, _ = certificates
    async with Upstream(always(OK), tls=server) as upstream:
        failure = await failure_of(HTTP11Transport(upstream.url))
        assert type(failure) is TlsCertificateError
        assert f"localhost:{upstream.port}" in failure.detail
        assert "expected tls = { ca = 'FILE' }" in failure.detail


async def test_a_client_certificate_comes_with_the_context(authority: trustme.CA, certificates: Certificates) -> None:
    server, client = certificates
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    async with Upstream(always(OK), tls=server) as upstream:
        without = HTTP11Transport(upstream.url, ssl_context=client)
        with pytest.raises((TlsProtocolError, ConnectionTerminated)):
            await fetch(without, get())
        await without.aclose()
        authority.issue_cert("client@upstream.test").configure_cert(client)
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        assert (await fetch(transport, get())).status == 200
        await transport.aclose()


async def hang_up(line: Line) -> None:
    line.close()


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        (answers(b""), WrongProtocol, "does not speak TLS; expected http://"),
        (hang_up, TlsProtocolError, "closed the connection within the TLS handshake; if it does not speak TLS"),
    ],
)
async def test_what_does_not_speak_tls_is_told_apart(
    script: Script, kind: type[UpstreamError], says: str, certificates: Certificates
) -> None:
    async def plain(line: Line) -> None:
        if script is hang_up:
            line.close()
        else:
            await line.exactly(1)
            line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await line.end()

    async with Upstream(plain) as upstream:
        url = httpx.URL(f"https://localhost:{upstream.port}")
        failure = await failure_of(HTTP11Transport(url, ssl_context=certificates[1]))
        assert type(failure) is kind
        assert f"localhost:{upstream.port} {says}" in failure.detail


async def test_a_handshake_that_hangs_is_a_connect_timeout(certificates: Certificates) -> None:
    async with Upstream(lambda line: line.end()) as upstream:
        url = httpx.URL(f"https://localhost:{upstream.port}")
        transport = HTTP11Transport(url, ssl_context=certificates[1], connect_timeout=0.1)
        failure = await failure_of(transport)
        assert type(failure) is ConnectTimeout
        assert f"localhost:{upstream.port} did not complete the TLS handshake in time" in failure.detail
        await (await upstream.line()).ended.wait()


async def test_a_large_body_both_ways_over_tls(certificates: Certificates) -> None:
    server, client = certificates
    size = 2 << 20

    async def echo(line: Line) -> None:
        await line.head()
        body = await line.exactly(size)
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, body)
        await line.end()

    async with Upstream(echo, tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        body = bytes(range(256)) * (size // 256)
        pieces = [body[start : start + 100_000] for start in range(0, size, 100_000)]
        assert (await fetch(transport, post(Pieces(pieces), size))).body == body
        await transport.aclose()


# -- outgoing proxies --------------------------------------------------------------------------------


async def relay(line: Line, port: int) -> None:
    """Connect to a port and pass bytes both ways, as an outgoing proxy does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(read: Callable[[int], Awaitable[bytes]], write: Callable[[bytes], None]) -> None:
        while data := await read(65536):
            write(data)

    back = asyncio.ensure_future(pump(reader.read, line.send))
    try:
        await pump(line.some, writer.write)
    finally:
        back.cancel()
        writer.close()


async def test_https_goes_through_connect(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(always(OK), tls=server) as upstream:

        async def play(line: Line) -> None:
            await line.head()
            line.send(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
            await relay(line, upstream.port)

        async with Upstream(play) as proxy:
            url = proxy.url.copy_with(username="user", password="p@ss")
            transport = HTTP11Transport(upstream.url, ssl_context=client, proxy=url)
            for _ in range(2):
                assert (await fetch(transport, get())).body == b"hello"
            assert proxy.lines[0].received.startswith(
                b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n"
                b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n" % (upstream.port, upstream.port)
            )
            assert len(proxy.lines) == 1
            await transport.aclose()


async def test_http_goes_in_the_absolute_form() -> None:
    async with Upstream(answers(OK, OK)) as proxy:
        url = proxy.url.copy_with(username="user", password="pass")
        transport = HTTP11Transport(httpx.URL("http://upstream.test"), proxy=url)
        assert (await fetch(transport, get(b"/a?b"))).body == b"hello"
        await transport.aclose()
        assert proxy.lines[0].received == (
            b"GET http://upstream.test/a?b HTTP/1.1\r\nHost: upstream.test\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"
        )


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbytes of its own",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"x" * 70_000,
        b"",
    ],
)
async def test_an_outgoing_proxy_that_does_not_want_to_says_so(answer: bytes, certificates: Certificates) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.send(answer)
        await line.drain()
        line.close()

    async with Upstream(play) as proxy:
        url = proxy.url.copy_with(username="user", password="canary")
        origin = httpx.URL("https://upstream.test")
        failure = await failure_of(HTTP11Transport(origin, ssl_context=certificates[1], proxy=url))
        assert type(failure) is OutgoingProxyError


async def test_an_outgoing_proxy_that_resets_or_is_not_there_says_so(certificates: Certificates) -> None:
    async def play(line: Line) -> None:
        await line.head()
        line.reset()

    origin = httpx.URL("https://upstream.test")
    async with Upstream(play) as proxy:
        transport = HTTP11Transport(origin, ssl_context=certificates[1], proxy=proxy.url)
        assert type(await failure_of(transport)) is OutgoingProxyError
    nobody = httpx.URL(f"http://127.0.0.1:{free_port()}")
    assert type(await failure_of(HTTP11Transport(origin, proxy=nobody))) is OutgoingProxyError
    assert type(await failure_of(HTTP11Transport(httpx.URL("http://a.test"), proxy=nobody))) is OutgoingProxyError


async def test_an_outgoing_proxy_that_hangs_is_a_connect_timeout(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Upstream(lambda line: line.end()) as proxy:
        origin = httpx.URL("https://upstream.test")
        transport = HTTP11Transport(origin, ssl_context=certificates[1], proxy=proxy.url, connect_timeout=0.05)
        assert type(await failure_of(transport)) is ConnectTimeout

    async def slow(host: str, port: int) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(connect, "dial", slow)
    assert type(await failure_of(HTTP11Transport(origin, proxy=proxy.url))) is ConnectTimeout


async def test_a_407_of_the_outgoing_proxy_is_not_the_apis() -> None:
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with Upstream(answers(answer)) as proxy:
        transport = HTTP11Transport(httpx.URL("http://upstream.test"), proxy=proxy.url)
        with pytest.raises(OutgoingProxyError):
            await fetch(transport, get())
        await transport.aclose()


def test_only_http_proxies_are_known() -> None:
    with pytest.raises(ValueError, match="http://"):
        HTTP11Transport(httpx.URL("http://a"), proxy=httpx.URL("socks5://b"))


@pytest.mark.parametrize(
    ("origin", "authority", "form"),
    [
        ("http://a.test", b"a.test:80", b"http://a.test"),
        ("http://a.test:81", b"a.test:81", b"http://a.test:81"),
        ("http://[::1]:81", b"[::1]:81", b"http://[::1]:81"),
    ],
)
def test_an_origin_has_one_name(origin: str, authority: bytes, form: bytes) -> None:
    way = Way(*connect.host_port(httpx.URL(origin)), proxy=("p", 1))
    assert (way.authority, way.absolute_form) == (authority, form)
