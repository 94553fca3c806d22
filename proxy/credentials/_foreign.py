"""Any ``httpx.Auth`` that was written for ``httpx.AsyncClient``, made at home here.

It gets a request with a real URL, its answers can be read by it and handed on all the same, and one that
blocks is stepped in threads of its own. Whatever it raises comes out without its text, which could repeat a
secret.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

import httpx

from proxy.credentials import Scheme
from proxy.credentials._decoding import bound
from proxy.credentials._fields import check_fields
from proxy.credentials._messages import READABLE, AnyStream, Auth, adapted, overrides, set_content
from proxy.errors import BodyTooLarge, CountersignError, CredentialError, ResponseIncomplete

Flow = AsyncGenerator[httpx.Request, httpx.Response]
T = TypeVar("T")


class TargetURL(httpx.URL):
    """The URL of a request whose target is sent byte for byte, though httpx would quote it anew."""

    def __init__(self, url: httpx.URL, target: bytes) -> None:
        # "*" (RFC 9110, section 7.1) is no path.
        super().__init__(url, raw_path=target if target.startswith(b"/") else b"/")
        self._target = target

    @property
    def raw_path(self) -> bytes:
        """The target."""
        return self._target


class Rereadable(httpx.AsyncByteStream, httpx.SyncByteStream):
    """An answer's body that can be iterated again after the Auth has read it, in the loop or in a thread."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream
        self._read: list[bytes] = []
        self._size = 0
        self._rest = aiter(stream)
        self._failure: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._recording = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._read:
            yield piece
        if self._failure is not None:
            raise self._failure  # a body that broke off must not look complete the second time
        while (more := await self._more()) is not None:
            yield more

    def __iter__(self) -> Iterator[bytes]:
        """As `__aiter__`, for an Auth in a thread."""
        yield from list(self._read)
        if self._failure is not None:
            raise self._failure
        while (more := asyncio.run_coroutine_threadsafe(self._more(), self._loop).result()) is not None:
            yield more

    async def _more(self) -> bytes | None:
        try:
            piece = await anext(self._rest, None)
        except BaseException as failure:
            self._failure = failure if isinstance(failure, Exception) else ResponseIncomplete(sent=True, begun=True)
            raise
        if piece is not None and self._recording:
            self._read.append(piece)
            self._size += len(piece)
            if self._size > READABLE:
                raise CredentialError("the answer is too large for this credential to see it")
        return piece

    def hand_on(self) -> None:
        """Keep nothing more: the Auth is through, what follows is the client's."""
        self._recording = False

    async def aclose(self) -> None:
        """Close what has not been read."""
        await self._stream.aclose()

    def close(self) -> None:
        """Nothing: who closes in a thread is the Auth, and the answer may still be handed on."""


class ForeignScheme(Scheme):
    """Drives another's Auth.

    Args:
        inner: it.
        threads: where it may block between its yields, unless its flow is an asynchronous one; None if it doesn't.
        client: for what it sends to other origins than the route's; None for the route's own.

    """

    def __init__(
        self,
        inner: Auth,
        threads: Executor | None = None,
        client: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = client
        self._inner = adapted(inner)
        self._threads = None if overrides(type(inner), "async_auth_flow") else threads

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        url = TargetURL(request.url, request.extensions["target"])
        first, base = request, request.url
        if self._inner.requires_request_body:
            await _read_request(request)
        request.url = url
        flow = self._flow(request)
        body: Rereadable | None = None
        try:
            following = await _step(anext(flow, None))
            if following is None:
                raise CredentialError("the credential's flow yields no request")
            while following is not None:
                check_fields(following.headers.raw)
                if not isinstance(following.stream, httpx.AsyncByteStream):
                    following.stream = AnyStream(following.stream)
                if following.url is url:
                    following.url = base
                else:
                    following.extensions.pop("target", None)
                    if self._client is not None:
                        following.extensions["client"] = self._client
                response = yield following
                if following.url is base:
                    following.url = url
                assert isinstance(response.stream, httpx.AsyncByteStream)
                response.stream = body = Rereadable(response.stream)
                bound(response, READABLE)
                if self._inner.requires_response_body:
                    await _step(response.aread())
                following = await _step(_send(flow, response))
        finally:
            first.url = base
            if body is not None:
                body.hand_on()
            with suppress(Exception, SystemExit, KeyboardInterrupt):  # third-party code that nobody waits for any more
                await flow.aclose()

    def _flow(self, request: httpx.Request) -> Flow:
        if self._threads is not None:
            return _threaded(self._inner.sync_auth_flow(request), self._threads)
        flow: Flow = self._inner.async_auth_flow(request)
        return flow


async def _step(step: Awaitable[T]) -> T:
    """Wait for a step of third-party code.

    Raises:
        CredentialError: it failed. Raised outside the handler, so that what failed is not its context.

    """
    try:
        return await step
    except (CountersignError, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as failure:  # noqa: BLE001  # third-party code; its sys.exit() must not end the process
        kind = type(failure).__name__
    raise CredentialError(f"the credential failed with {kind}")


async def _send(flow: Flow, response: httpx.Response) -> httpx.Request | None:
    try:
        return await flow.asend(response)
    except StopAsyncIteration:
        return None


async def _threaded(flow: Generator[httpx.Request, httpx.Response, None], threads: Executor) -> Flow:
    """Step a flow that may block, each step in a thread; one that is cancelled ends by itself."""
    lock, context = threading.Lock(), copy_context()

    def step(response: httpx.Response | None) -> httpx.Request | None:
        with lock:
            try:
                return next(flow) if response is None else flow.send(response)
            except StopIteration:  # can't cross from a thread into a coroutine
                return None
            except Exception:
                raise
            except BaseException as failure:  # noqa: BLE001  # as in `_step`, while its name is known
                kind = type(failure).__name__
        raise CredentialError(f"the credential failed with {kind}")

    def close() -> None:
        with lock, suppress(BaseException):
            flow.close()

    response: httpx.Response | None = None
    loop = asyncio.get_running_loop()
    ended = False
    try:
        while (request := await loop.run_in_executor(threads, context.run, step, response)) is not None:
            response = yield request
        ended = True
    finally:
        if not ended:
            with suppress(RuntimeError):  # no threads any more: the process ends
                threads.submit(close)


async def _read_request(request: httpx.Request) -> None:
    """Let the Auth see the body; the stream stays the one that can be replayed.

    Raises:
        BodyTooLarge: it is too large for that.

    """
    stream = request.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    pieces, size = [], 0
    async for piece in stream:
        pieces.append(piece)
        size += len(piece)
        if size > READABLE:
            raise BodyTooLarge("the request's body is too large for this credential to see it")
    set_content(request, b"".join(pieces))
