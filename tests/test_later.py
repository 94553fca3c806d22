"""Certificates that are read when a context is used: then it is one like any other."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from proxy.later import certificates_later

LOOK = """
from proxy.cli import cli
cli.get_command(None, "run")
from aiohttp import connector
print(type(connector._SSL_CONTEXT_VERIFIED).__name__, type(connector._SSL_CONTEXT_UNVERIFIED).__name__)
"""


def made_within() -> ssl.SSLContext:
    with certificates_later():
        return ssl.create_default_context()


async def greet(context: ssl.SSLContext, authority: trustme.CA) -> ssl.SSLObject:
    """Shake hands with a server whose certificate is of `authority`."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(own)
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # handshakes that failed
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=own)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        writer.close()
        return tls


def test_nothing_is_read_before_it_is_used_and_no_setting_is_lost() -> None:
    context = made_within()
    assert context.cert_store_stats()["x509"] == 0
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_when_it_is_used_the_systems_certificates_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = made_within()
    assert (await greet(context, authority)).getpeercert()
    assert type(context) is ssl.SSLContext
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(context, trustme.CA())


async def test_nobody_else_is_trusted() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(made_within(), trustme.CA())


def test_a_plain_socket_does_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = made_within()
    with socket.socket() as own, context.wrap_socket(own, server_hostname="localhost"):
        assert context.cert_store_stats()["x509"] == 1


def test_behind_the_block_all_is_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(KeyError), certificates_later():
        raise KeyError
    context = ssl.create_default_context()
    assert (type(context), context.cert_store_stats()["x509"]) == (ssl.SSLContext, 1)


def test_a_start_reads_none_for_a_client_that_is_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["_Later", "_Later"]
