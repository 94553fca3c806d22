"""Waits on this machine for the redirect of a login (RFC 8252, section 7.3).

Only who is on this machine reaches it, and only under a name of it. Its pages are the same for everybody, whatever
the redirect holds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from proxy.errors import CredentialError
from proxy.values import is_loopback

HOST, PATH = "127.0.0.1", "/callback"
PATIENCE = 10.0  # seconds for a request to come
LARGEST = 1 << 16  # bytes of a request's head

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Countersign</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_DONE = _PAGE.format(title="Logged in", text="You can close this page.")
_FAILED = _PAGE.format(title="Not logged in", text="The terminal says why. You can close this page.")
_OTHER = _PAGE.format(title="Nothing here", text="This address waits for the end of a login.")


@dataclass(frozen=True, slots=True, repr=False)
class Redirect:
    """A redirect that has come; the browser waits until `answer` is called.

    Attributes:
        query: of its URL.

    """

    query: str
    _writer: asyncio.StreamWriter

    async def answer(self, *, succeeded: bool) -> None:
        """Tell the user how it ended."""
        await _answer(
            self._writer, HTTPStatus.OK if succeeded else HTTPStatus.BAD_REQUEST, _DONE if succeeded else _FAILED
        )


class Callback:
    """A listener for one redirect."""

    def __init__(self) -> None:
        self._arrived: asyncio.Future[Redirect] = asyncio.get_running_loop().create_future()
        self._clients: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self.port: int

    @property
    def uri(self) -> str:
        """Where the browser has to be sent."""
        return f"http://{HOST}:{self.port}{PATH}"

    @classmethod
    async def open(cls, port: int = 0) -> Callback:
        """Listen.

        Args:
            port: 0 for any free one.

        Raises:
            CredentialError: the port is taken.

        """
        made = cls()
        try:
            made._server = await asyncio.start_server(made._serve, HOST, port, limit=LARGEST)
        except OSError as failure:
            raise CredentialError(f"redirect_port {port} can't be had: {failure.strerror}") from None
        made.port = made._server.sockets[0].getsockname()[1]
        return made

    async def redirect(self) -> Redirect:
        """Wait for the redirect."""
        return await self._arrived

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            status, query = judge(head)
            if status == HTTPStatus.OK and not self._arrived.done():
                self._arrived.set_result(Redirect(query, writer))
                return
            await _answer(writer, HTTPStatus.NOT_FOUND if status == HTTPStatus.OK else status, _OTHER)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
        self._clients.discard(writer)

    def close(self) -> None:
        """Listen no more; browsers keep connections open that they have no use for."""
        self._server.close()
        for writer in self._clients:
            writer.close()


def judge(head: bytes) -> tuple[HTTPStatus, str]:
    """Return how to answer a request with this head, and the query of a redirect."""
    line, *fields = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    hosts = [value.strip() for name, _, value in (field.partition(":") for field in fields) if name.lower() == "host"]
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(hosts) != 1:
        return HTTPStatus.BAD_REQUEST, ""
    # A page of another machine whose name was made to mean this one (DNS rebinding) brings its own name.
    if not is_loopback(hosts[0].rpartition(":")[0] or hosts[0]):
        return HTTPStatus.MISDIRECTED_REQUEST, ""
    if words[0] != "GET":
        return HTTPStatus.METHOD_NOT_ALLOWED, ""
    path, _, query = words[1].partition("?")
    return (HTTPStatus.OK, query) if path == PATH else (HTTPStatus.NOT_FOUND, "")


async def _answer(writer: asyncio.StreamWriter, status: HTTPStatus, page: str) -> None:
    body = page.encode()
    fields = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    try:
        writer.write("\r\n".join([*fields, "", ""]).encode() + body)
        await writer.drain()
    except OSError:
        pass  # the browser has gone; the login goes on
    finally:
        writer.close()
