"""Connections for httpcore, made by `dial`: httpcore itself resolves names on threads that all share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpcore
from anyio.abc import SocketStream
from httpcore._backends.anyio import AnyIOStream  # has no public name

from proxy.transport.dial import dial


class Dialling(httpcore.AsyncNetworkBackend):
    """Makes TCP connections for a connection pool of httpcore's."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As its base class; there is neither a local address nor an option."""
        assert local_address is None
        assert not socket_options
        try:
            async with asyncio.timeout(timeout):
                return await _stream(host, port)
        except TimeoutError as failure:
            raise httpcore.ConnectTimeout from failure
        except OSError as failure:
            raise httpcore.ConnectError(failure) from failure


async def _stream(host: str, port: int) -> httpcore.AsyncNetworkStream:
    wire = await dial(host, port)
    try:
        return AnyIOStream(await SocketStream.from_socket(wire))
    except ValueError:
        wire.close()
        raise ConnectionResetError("the connection was closed at once") from None
    except BaseException:
        wire.close()
        raise


def dialled(transport: object) -> None:
    """Have a transport of httpx's connect by `Dialling`; there is no public way to say so."""
    transport._pool._network_backend = Dialling()  # type: ignore[attr-defined]  # private names
