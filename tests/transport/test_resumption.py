"""TLS sessions are resumed by connections to the same origin, and by no others."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from proxy.errors import TlsCertificateError, TlsProtocolError
from proxy.transport import HTTP11Transport
from proxy.transport.resumption import Resuming
from tests.transport.requests import fetch, get
from tests.transport.upstream import Line, Upstream, always

CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
Certificates = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(params=VERSIONS, ids=["TLS 1.2", "TLS 1.3"])
def version(request: pytest.FixtureRequest, certificates: Certificates) -> ssl.TLSVersion:
    """The version that both sides speak."""
    certificates[0].minimum_version = certificates[0].maximum_version = request.param
    found: ssl.TLSVersion = request.param
    return found


def resumed(upstream: Upstream) -> list[bool]:
    """Which of the upstream's connections resumed a session, as it sees it."""
    return [line.tls is not None and line.tls.session_reused is True for line in upstream.lines]


@pytest.mark.usefixtures("version")
async def test_each_connection_but_the_first_resumes(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(always(CLOSING), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        for _ in range(5):
            assert (await fetch(transport, get())).body == b"hello"
        assert resumed(upstream) == [False, True, True, True, True]
        await transport.aclose()


@pytest.mark.usefixtures("version")
async def test_many_at_once_resume_a_session_each(certificates: Certificates) -> None:
    server, client = certificates
    together = asyncio.Barrier(4)

    async def play(line: Line) -> None:
        await line.head()
        await together.wait()
        line.send(CLOSING)

    async with Upstream(play, tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        for _ in range(2):
            answers = await asyncio.gather(*(fetch(transport, get()) for _ in range(4)))
            assert [each.body for each in answers] == [b"hello"] * 4
        assert resumed(upstream) == [False] * 4 + [True] * 4
        await transport.aclose()


@pytest.mark.usefixtures("version")
async def test_a_session_is_never_another_origins_though_they_share_name_and_context(
    certificates: Certificates,
) -> None:
    server, client = certificates
    async with Upstream(always(CLOSING), tls=server) as one, Upstream(always(CLOSING), tls=server) as other:
        transports = [HTTP11Transport(each.url, ssl_context=client) for each in (one, other)]
        for transport in transports:
            await fetch(transport, get())
        assert resumed(one) + resumed(other) == [False, False]
        for transport in transports:
            await transport.aclose()


@pytest.mark.usefixtures("version")
async def test_a_session_that_is_refused_costs_a_whole_handshake_and_nothing_else(
    certificates: Certificates, localhost: trustme.LeafCert
) -> None:
    server, client = certificates
    async with Upstream(always(CLOSING), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        await fetch(transport, get())
        # Other keys for tickets, and no sessions: as after a restart.
        anew = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        anew.minimum_version, anew.maximum_version = server.minimum_version, server.maximum_version
        localhost.configure_cert(anew)
        upstream.tls = anew
        for _ in range(2):
            assert (await fetch(transport, get())).body == b"hello"
        assert resumed(upstream) == [False, False, True]
        await transport.aclose()


@pytest.mark.usefixtures("version")
async def test_another_certificate_is_looked_at_when_the_session_is_refused(certificates: Certificates) -> None:
    server, client = certificates
    async with Upstream(always(CLOSING), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        await fetch(transport, get())
        impostor = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(impostor)
        upstream.tls = impostor
        with pytest.raises(TlsCertificateError):
            await fetch(transport, get())
        await transport.aclose()


async def test_after_a_handshake_that_failed_the_next_one_is_whole(certificates: Certificates) -> None:
    server, client = certificates
    broken = False

    async def play(line: Line) -> None:
        if not broken:
            await line.head()
            line.send(CLOSING)

    async with Upstream(play, tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        await asyncio.gather(*(fetch(transport, get()) for _ in range(3)))
        broken, upstream.tls = True, None
        with pytest.raises(TlsProtocolError):
            await fetch(transport, get())
        broken, upstream.tls = False, server
        await fetch(transport, get())
        assert not resumed(upstream)[-1]
        await transport.aclose()


async def test_a_kept_connection_gives_its_session_once(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[ssl.SSLObject] = []
    monkeypatch.setattr(Resuming, "keep", lambda _, tls: kept.append(tls))
    server, client = certificates
    async with Upstream(always(CLOSING.replace(b"Connection: close\r\n", b"")), tls=server) as upstream:
        transport = HTTP11Transport(upstream.url, ssl_context=client)
        for _ in range(5):
            await fetch(transport, get())
        assert len(kept) == 1
        await transport.aclose()


def test_no_more_sessions_are_kept_than_are_of_use(certificates: Certificates) -> None:
    class Fresh:
        session = object()

    sessions = Resuming(certificates[1])
    for _ in range(100):
        sessions.keep(Fresh())  # type: ignore[arg-type]  # as much of it as is looked at
    assert len(sessions._sessions) == 8
