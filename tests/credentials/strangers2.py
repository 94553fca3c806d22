"""Classes as packages have them that were written for httpx2, or for no library at all."""

from __future__ import annotations

import typing

import httpx2

Flow = typing.Generator[httpx2.Request, httpx2.Response, None]


class Plain(httpx2.Auth):
    """Sets a field."""

    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx2.Request) -> Flow:
        assert isinstance(request, httpx2.Request)
        request.headers["Authorization"] = self.token
        response = yield request
        assert isinstance(response, httpx2.Response)
        if response.status_code == 401:
            request.headers["Authorization"] = "again"
            yield request


class Login(httpx2.Auth):
    """Gets its token from elsewhere, and watches every response."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[int, bytes]] = []

    def auth_flow(self, request: httpx2.Request) -> Flow:
        told = yield httpx2.Request("POST", self.url, json={"user": "u"})
        self.seen.append((told.status_code, told.content))
        request.headers["Authorization"] = told.json()["token"]
        response = yield request
        self.seen.append((response.status_code, response.content))


class Signs(httpx2.Auth):
    """Needs the body, and makes another request of it, as Authlib does."""

    requires_request_body = True

    def auth_flow(self, request: httpx2.Request) -> Flow:
        target = request.url.raw_path.decode()
        url = request.url.copy_merge_params({"sign": f"{len(request.content)}-{target}"})
        yield httpx2.Request("PUT", url, headers=request.headers, content=request.content + b"!")


class Changes(httpx2.Auth):
    """Changes the request in all ways that there are."""

    def auth_flow(self, request: httpx2.Request) -> Flow:
        request.method = "PUT"
        request.url = request.url.copy_merge_params({"key": "k"})
        request.stream = httpx2.ByteStream(b"changed")
        request.headers["Content-Length"] = "7"
        yield request


class Streams(httpx2.Auth):
    """Sends a body that it makes piece by piece."""

    def auth_flow(self, request: httpx2.Request) -> Flow:
        async def pieces() -> typing.AsyncIterator[bytes]:
            yield b"a"
            yield b"b"

        yield httpx2.Request("POST", "https://api.test/made", content=pieces())


class Reads(httpx2.Auth):
    """Written for the synchronous client: reads responses itself."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        response = yield request
        self.seen.append(response.read())
        response.close()
        self.seen.append(response.read())


class Asynchronous(httpx2.Auth):
    """Has an asynchronous flow of its own."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def async_auth_flow(self, request: httpx2.Request) -> typing.AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["Authorization"] = "one"
        response = yield request
        self.seen.append(await response.aread())
        await response.aclose()
        if response.status_code == 401:
            request.headers["Authorization"] = "two"
            yield request


class Nothing(httpx2.Auth):
    """Yields no request at all."""

    def sync_auth_flow(self, request: httpx2.Request) -> Flow:
        yield from ()


class Fails(httpx2.Auth):
    """Raises what repeats its argument."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def auth_flow(self, request: httpx2.Request) -> Flow:
        yield request
        raise KeyError(self.secret)


class Duck:
    """Of no library: has one of the methods only, and sends a request of httpx2 first."""

    def auth_flow(self, request: typing.Any) -> typing.Generator[typing.Any, typing.Any, None]:
        told = yield httpx2.Request("GET", "https://login.test/token")
        request.headers["Authorization"] = told.headers["X-Token"]
        yield request


class DuckAsynchronous:
    """Of no library, and asynchronous."""

    requires_request_body = True

    async def async_auth_flow(self, request: typing.Any) -> typing.AsyncGenerator[typing.Any, typing.Any]:
        request.headers["Authorization"] = f"{len(request.content)} bytes"
        yield request
