"""Requests and responses between httpx, which this project speaks, and what a third-party Auth speaks.

httpx2 is httpx under another name: its classes have the same methods, and none is a subclass of the other's. Nothing
is imported here: who has a class of httpx2 has loaded it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import httpx

from proxy.credentials._decoding import bound
from proxy.transport.messages import RawHeaders, raw_request

Auth = Any  # what has the methods of httpx.Auth
FLOWS = ("auth_flow", "sync_auth_flow", "async_auth_flow")
READABLE = 8 << 20  # bytes of a request's or a response's body that an Auth may read, encoded and decoded
_LIBRARIES = ("httpx", "httpx2")


def overrides(kind: type, name: str) -> bool:
    """Whether a class has a method of its own, and not the one that a library's Auth has."""
    owner = next((base for base in kind.__mro__ if name in vars(base)), object)
    return owner is not object and not (owner.__name__ == "Auth" and _root(owner) in _LIBRARIES)


def library_of(kind: type) -> ModuleType:
    """Return the library whose messages a class wants: that of its bases, else httpx."""
    roots = {_root(base) for base in kind.__mro__}
    return sys.modules["httpx2"] if "httpx2" in roots else httpx


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def adapted(inner: Auth) -> Auth:
    """Return what speaks httpx's classes in the place of an Auth that may not."""
    return inner if isinstance(inner, httpx.Auth) else Adapter(inner)


class Adapter:
    """An Auth of any origin, as one of httpx.

    Attributes:
        requires_request_body, requires_response_body: as ``httpx.Auth``.

    """

    def __init__(self, inner: Auth) -> None:
        self._inner = inner
        self._library = library_of(type(inner))
        self.requires_request_body = bool(getattr(inner, "requires_request_body", False))
        self.requires_response_body = bool(getattr(inner, "requires_response_body", False))

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As ``httpx.Auth``."""
        own = "sync_auth_flow" if hasattr(self._inner, "sync_auth_flow") else "auth_flow"
        messages = Messages(self._library, request)
        flow = getattr(self._inner, own)(messages.given)
        try:
            following = next(flow, None)
            while following is not None:
                response = yield messages.to_send(following)
                try:
                    following = flow.send(messages.response(response))
                except StopIteration:
                    return
        finally:
            flow.close()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As ``httpx.Auth``."""
        messages = Messages(self._library, request)
        flow = self._inner.async_auth_flow(messages.given)
        try:
            following = await anext(flow, None)
            while following is not None:
                response = yield messages.to_send(following)
                try:
                    following = await flow.asend(messages.response(response))
                except StopAsyncIteration:
                    return
        finally:
            await flow.aclose()


class Messages:
    """The messages of one flow.

    Attributes:
        given: the request as the Auth gets it.

    """

    def __init__(self, library: ModuleType, request: httpx.Request) -> None:
        self._library = library
        self._request = request
        self._stream = request.stream
        self.given: Any = request  # Any: the library's own class, as all below
        if library is not httpx:
            self.given = _request(library, request)
        self._url = self.given.url

    def to_send(self, following: Any) -> httpx.Request:
        """Return a request that the Auth yielded as one of httpx; the given one is the same one again."""
        if isinstance(following, httpx.Request):
            return following
        fields = list(following.headers.raw)
        if following is not self.given:
            url, extensions = httpx.URL(str(following.url)), dict(following.extensions)
            return raw_request(following.method, url, fields, self._body(following.stream), extensions)
        self._request.method = following.method
        self._request.headers = RawHeaders(fields)
        if following.url is not self._url:
            self._url = following.url
            self._request.url = httpx.URL(str(following.url))
        if following.stream is not self._stream:
            self._request.stream = self._body(following.stream)
        return self._request

    def _body(self, stream: Any) -> httpx.AsyncByteStream:
        if stream is self._stream:
            assert isinstance(self._stream, httpx.AsyncByteStream)
            return self._stream
        if isinstance(stream, self._library.ByteStream):
            return httpx.ByteStream(b"".join(stream))
        return AnyStream(stream)

    def response(self, response: httpx.Response) -> Any:
        """Return a response as the Auth gets it."""
        if self._library is httpx:
            return response
        adapted_response = self._library.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=_stream_class(self._library)(response.stream),
            request=self.given,
            extensions=response.extensions,
        )
        bound(adapted_response, READABLE)
        return adapted_response


def _request(library: Any, request: httpx.Request) -> Any:
    given = library.Request(
        request.method,
        _url_class(library)(request.url),
        headers=request.headers.raw,
        stream=request.stream,
        extensions=request.extensions,
    )
    if hasattr(request, "_content"):
        set_content(given, request.content)
    return given


def set_content(request: Any, content: bytes) -> None:  # Any: of either library
    """Let a request have its whole body, as its own ``read()`` would leave it, and keep its stream."""
    request._content = content


@cache
def _url_class(library: Any) -> Any:
    class TargetURL(library.URL):  # type: ignore[misc]  # Any: known at run time only
        """A URL whose target is that of httpx's, byte for byte."""

        def __init__(self, url: httpx.URL) -> None:
            super().__init__(str(url))
            self._target = url.raw_path

        @property
        def raw_path(self) -> bytes:
            """The target."""
            return self._target

    return TargetURL


@cache
def _stream_class(library: Any) -> Any:
    class Stream(library.AsyncByteStream, library.SyncByteStream):  # type: ignore[misc]  # as above
        """A body of httpx's, to be read in the loop or in a thread."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._stream:
                yield piece

        def __iter__(self) -> Iterator[bytes]:
            yield from self._stream

        async def aclose(self) -> None:
            """Close it."""
            await self._stream.aclose()

        def close(self) -> None:
            """Close it, in a thread."""
            self._stream.close()

    return Stream


class AnyStream(httpx.AsyncByteStream):
    """A request's body of another library, or an iterable of bytes."""

    def __init__(self, stream: Any) -> None:  # Any: as the library has it
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if hasattr(self._stream, "__aiter__"):
            async for piece in self._stream:
                yield piece
        else:
            for piece in self._stream:
                yield piece

    async def aclose(self) -> None:
        """Close it."""
        if hasattr(self._stream, "aclose"):
            await self._stream.aclose()
        elif hasattr(self._stream, "close"):
            self._stream.close()
