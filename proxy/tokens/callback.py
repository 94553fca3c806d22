"""Waits on this machine for the redirect of a login (RFC 8252, section 7.3).

Any web page can send requests here. So only a navigation whose query is expected ends the login; all other requests get
an error response, and the login goes on. The pages are the same for everybody, whatever the redirect holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from proxy.errors import CredentialError
from proxy.values import is_loopback

HOST, PATH = "127.0.0.1", "/callback"
PATIENCE = 10.0  # seconds for a request's head
CLOSING = 2.0  # seconds for the browser to read the last page
LARGEST = 1 << 16  # bytes of a request's head

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Countersign</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_DONE = _PAGE.format(title="Logged in", text="You can close this page.")
_FAILED = _PAGE.format(title="Not logged in", text="The terminal says why. You can close this page.")
_OTHER = _PAGE.format(title="Nothing here", text="This address waits for the end of a login.")


class Callback:
    """A listener for one redirect."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._arrived: asyncio.Future[str] = loop.create_future()
        self._outcome: asyncio.Future[bool] = loop.create_future()
        self._expects: Callable[[str], bool] = lambda query: False  # noqa: ARG005  # until `redirect` is called
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._waiting: set[asyncio.Task[None]] = set()  # those that have sent the redirect
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
            made._server = await asyncio.start_server(made._connected, HOST, port, limit=LARGEST)
        except OSError as failure:
            raise CredentialError(f"redirect_port {port} can't be had: {failure.strerror}") from None
        made.port = made._server.sockets[0].getsockname()[1]
        return made

    async def redirect(self, expects: Callable[[str], bool]) -> str:
        """Wait for the redirect, and return the query of its URL; the browser waits until `finish` is called.

        Args:
            expects: whether a query is that of the redirect.

        """
        self._expects = expects
        return await self._arrived

    async def finish(self, *, succeeded: bool) -> None:
        """Show the user how the login ended."""
        self._outcome.set_result(succeeded)
        await asyncio.wait(self._waiting, timeout=CLOSING)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer), name="callback")
        self._clients[task] = writer
        task.add_done_callback(self._clients.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
            await _answer(writer, *await self._response(head))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _response(self, head: bytes) -> tuple[HTTPStatus, str]:
        status, query = judge(head)
        if status != HTTPStatus.OK:
            return status, "" if head.startswith(b"HEAD ") else _OTHER
        if not self._arrived.done() and self._expects(query):
            self._arrived.set_result(query)
        # A browser may send the redirect twice, and show the page of either request.
        if not self._arrived.done() or self._arrived.result() != query:
            return HTTPStatus.NOT_FOUND, _OTHER
        task = asyncio.current_task()
        assert task is not None
        self._waiting.add(task)
        succeeded = await asyncio.shield(self._outcome)
        return (HTTPStatus.OK, _DONE) if succeeded else (HTTPStatus.BAD_REQUEST, _FAILED)

    def close(self) -> None:
        """Listen no more; browsers keep connections open that they have no use for."""
        self._server.close()
        for task, writer in self._clients.items():
            writer.close()
            task.cancel()


def judge(head: bytes) -> tuple[HTTPStatus, str]:
    """Return how to answer a request with this head, and the query of what may be the redirect."""
    line, *fields = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    hosts = _values(fields, "host")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(hosts) != 1:
        return HTTPStatus.BAD_REQUEST, ""
    # A page of another machine whose name was made to mean this one (DNS rebinding) brings its own name.
    if not is_loopback(hosts[0].rpartition(":")[0] or hosts[0]):
        return HTTPStatus.MISDIRECTED_REQUEST, ""
    if words[0] != "GET":
        return HTTPStatus.METHOD_NOT_ALLOWED, ""
    path, _, query = words[1].partition("?")
    is_redirect = path == PATH and _may_navigate(_values(fields, "sec-fetch-mode"), _values(fields, "sec-fetch-site"))
    return (HTTPStatus.OK, query) if is_redirect else (HTTPStatus.NOT_FOUND, "")


def _values(fields: list[str], name: str) -> list[str]:
    pairs = (field.partition(":") for field in fields)
    return [value.strip().lower() for key, _, value in pairs if key.lower() == name]


def _may_navigate(modes: list[str], sites: list[str]) -> bool:
    """Whether a request may be a navigation; a subresource of a page, such as an image, never is the redirect.

    Programs and old browsers send neither field.
    """
    return modes == ["navigate"] if modes else "cross-site" not in sites


async def _answer(writer: asyncio.StreamWriter, status: HTTPStatus, page: str) -> None:
    body = page.encode()
    fields = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(body)}",
        *(["Allow: GET"] if status == HTTPStatus.METHOD_NOT_ALLOWED else []),
        "Cache-Control: no-store",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    writer.write("\r\n".join([*fields, "", ""]).encode() + body)
    await writer.drain()
