"""Every asynchronous test of this room runs on both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest
import trustme
import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def localhost(authority: trustme.CA) -> trustme.LeafCert:
    """The certificate of a server called localhost."""
    return authority.issue_cert("localhost")


@pytest.fixture
def certificates(authority: trustme.CA, localhost: trustme.LeafCert) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server called localhost and of a client that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_alpn_protocols(["h2", "http/1.1"])
    localhost.configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client
