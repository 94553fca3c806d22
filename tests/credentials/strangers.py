"""Classes as other people's packages have them; none knows anything of this project."""

from __future__ import annotations

import threading
import typing

import httpx

Flow = typing.Generator[httpx.Request, httpx.Response, None]


class Plain(httpx.Auth):
    """Sets a field."""

    def __init__(self, token: str, name: str = "Authorization") -> None:
        self.token, self.name = token, name

    def auth_flow(self, request: httpx.Request) -> Flow:
        request.headers[self.name] = self.token
        yield request


class Slow(Plain):
    """Blocks until it is told to go on; notes the threads it ran in."""

    def __init__(self, token: str = "t") -> None:
        super().__init__(token)
        self.go_on, self.began, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.threads: list[str] = []

    def sync_auth_flow(self, request: httpx.Request) -> Flow:
        self.threads.append(threading.current_thread().name)
        self.began.set()
        self.go_on.wait(10)
        try:
            request.headers["Authorization"] = self.token
            response = yield request
            self.threads.append(threading.current_thread().name)
            if response.status_code == 401:
                request.headers["Authorization"] = "again"
                yield request
        finally:
            self.closed.set()


class Login(httpx.Auth):
    """Gets its token from elsewhere, reads it from the answer's body, and watches every answer."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[int, bytes]] = []

    def auth_flow(self, request: httpx.Request) -> Flow:
        answer = yield httpx.Request("POST", self.url, json={"user": "u"})
        self.seen.append((answer.status_code, answer.content))
        request.headers["Authorization"] = answer.json()["token"]
        response = yield request
        self.seen.append((response.status_code, response.content))


class Signs(httpx.Auth):
    """Needs the body, and puts what it made of it into the URL."""

    requires_request_body = True

    def auth_flow(self, request: httpx.Request) -> Flow:
        request.url = request.url.copy_merge_params({"sign": f"{len(request.content)}-{request.url.raw_path.decode()}"})
        yield request


class Reads(httpx.Auth):
    """Written for the synchronous client: reads answers itself."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def sync_auth_flow(self, request: httpx.Request) -> Flow:
        response = yield request
        self.seen.append(response.read())
        response.close()
        self.seen.append(response.read())


class Asynchronous(httpx.Auth):
    """Has its own asynchronous flow, as the documentation of httpx says."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def async_auth_flow(self, request: httpx.Request) -> typing.AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = "one"
        response = yield request
        self.seen.append(await response.aread())
        if response.status_code == 401:
            request.headers["Authorization"] = "two"
            yield request


class Fails(httpx.Auth):
    """Raises what repeats its argument, at the step that it is told."""

    def __init__(self, secret: str, at: int) -> None:
        self.secret, self.at = secret, at

    def auth_flow(self, request: httpx.Request) -> Flow:
        if self.at == 0:
            raise ValueError(self.secret)
        yield request
        raise KeyError(self.secret)


class Exits(httpx.Auth):
    """Ends the process, as scripts do, when it is made or when a request comes."""

    def __init__(self, kind: type[BaseException] = SystemExit, *, at_once: bool = False) -> None:
        self.kind, self.at_once = kind, at_once
        if at_once:
            raise kind

    def auth_flow(self, request: httpx.Request) -> Flow:
        if not self.at_once:
            raise self.kind
        yield request


class Pieces(httpx.Auth):
    """Sends a body that is an iterator, which httpx's asynchronous client refuses."""

    requires_response_body = True

    def __init__(self, url: str) -> None:
        self.url = url

    def auth_flow(self, request: httpx.Request) -> Flow:
        yield httpx.Request("POST", self.url, content=iter([b"a", b"bc"]))
        yield request


class Nothing(httpx.Auth):
    """Yields no request at all."""

    def auth_flow(self, request: httpx.Request) -> Flow:
        yield from ()


class NothingEither(httpx.Auth):
    """Yields no request in flows of its own."""

    def sync_auth_flow(self, request: httpx.Request) -> Flow:
        yield from ()

    async def async_auth_flow(self, request: httpx.Request) -> typing.AsyncGenerator[httpx.Request, httpx.Response]:
        nothing: tuple[httpx.Request, ...] = ()
        for each in nothing:
            yield each


class Stubborn(httpx.Auth):
    """Does not want to end."""

    def sync_auth_flow(self, request: httpx.Request) -> Flow:
        try:
            yield request
        finally:
            raise ValueError("canary")


class StubbornToo(httpx.Auth):
    """Neither does this one."""

    async def async_auth_flow(self, request: httpx.Request) -> typing.AsyncGenerator[httpx.Request, httpx.Response]:
        try:
            yield request
        finally:
            raise ValueError("canary")


class Unmakeable(httpx.Auth):
    """Can't be made."""

    def __init__(self, secret: str) -> None:
        raise RuntimeError(secret)


class Counted(Plain):
    """Counts how often it was made."""

    made: typing.ClassVar[list[str]] = []

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.made.append(threading.current_thread().name)


class NoAuth:
    """Something else."""


class Handshake(httpx.Auth):
    """Three messages as NTLM has them; between the second and the third it may ask another origin."""

    def __init__(self, url: str = "", fault: str = "") -> None:
        self.url, self.fault = url, fault

    def auth_flow(self, request: httpx.Request) -> Flow:
        response = yield request
        if response.status_code != 401:
            return
        request.headers["Authorization"] = "NTLM type1"
        response = yield request
        if self.url:
            yield httpx.Request("POST", self.url)
        if self.fault:
            raise RuntimeError(self.fault)
        request.headers["Authorization"] = "NTLM type3 " + response.headers["WWW-Authenticate"][5:]
        yield request


class Expiring(httpx.Auth):
    """Has another token when the first one has expired, which the body says."""

    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Flow:
        request.headers["Authorization"] = "t1"
        response = yield request
        if response.json().get("error") == "token_expired":
            request.headers["Authorization"] = "t2"
            yield request
