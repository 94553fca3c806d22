"""The way to a redis server: its URL, and commands that end within a second whatever the network does.

While it is away, commands fail at once, but for one now and then that tries again. What redis-py raises becomes
`StoreError` here and nowhere else; what the server says is never repeated, since it may repeat what it was sent.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from proxy.errors import ConfigError, StoreError
from proxy.stores._locks import whatever_comes
from proxy.stores._warnings import RareWarning
from proxy.transport.resolve import resolve
from proxy.values import is_loopback

PATIENCE = 1.0  # seconds for a connection, and for an answer
REST = 0.5  # seconds in which a server that failed is not asked again
SOON, LATER = 0.1, 1.0  # seconds after which a server that went away is looked for again
HEARTBEAT = 2.0  # seconds of silence after which a subscription asks whether there is still somebody

_PORT = 6379
_RIGHT = 'right would be "redis://HOST:6379/0", "rediss://…" or "unix:///run/redis.sock"'
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_CODE = re.compile(r"[A-Z]+\b")


def options(url: str) -> dict[str, Any]:  # Any: redis-py's arguments
    """Return what redis-py's client wants, of a ``redis://``, ``rediss://`` or ``unix://`` URL.

    Raises:
        ValueError: it is malformed; it is not repeated.

    """
    try:
        parts = urlsplit(url)
        found = {"username": _plain(parts.username), "password": _plain(parts.password), **_query(parts)}
        if parts.scheme == "unix":
            if parts.hostname or not parts.path.startswith("/") or parts.fragment:
                raise ValueError
            return found | {"unix_socket_path": unquote(parts.path)}
        database = parts.path.strip("/")
        if not parts.hostname or parts.fragment or not re.fullmatch(r"\d{0,5}", database):
            raise ValueError
        found |= {"host": parts.hostname, "port": parts.port or _PORT, "ssl": parts.scheme == "rediss"}
        return found | ({"db": int(database)} if database else {})
    except ValueError:
        raise ValueError(f"is not a redis URL; {_RIGHT}") from None


def _plain(text: str | None) -> str | None:
    return unquote(text) if text else None


def _query(parts: SplitResult) -> dict[str, Any]:  # Any: as above
    found: dict[str, Any] = {}
    for key, values in parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)).items():
        if key == "db" and re.fullmatch(r"\d{1,5}", values[0], re.ASCII):
            found["db"] = int(values[0])
        elif key in _FILES and parts.scheme == "rediss":
            found[key] = values[0]
        else:
            raise ValueError
    return found


def shown(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_exposed(url: str) -> bool:
    """Whether what is sent to it can be read on the network."""
    parts = urlsplit(url)
    return parts.scheme == "redis" and not is_loopback(parts.hostname or "")


class _Resolved:
    """A connection of redis-py's to a host whose name can be looked up.

    redis-py looks it up on threads that all share: not before a lookup that hangs there would have ended here.
    """

    host: str
    port: int
    socket_connect_timeout: float
    is_connected: bool

    async def connect(self) -> None:
        if not self.is_connected:
            async with asyncio.timeout(self.socket_connect_timeout):
                await resolve(self.host, self.port, type=socket.SOCK_STREAM)
        await super().connect()  # type: ignore[misc]  # of the class that this one is mixed into


class Link:
    """Commands to the server of `url`, and what it publishes.

    Attributes:
        trouble: why the last command failed; empty if it went well.

    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        try:
            from redis import asyncio as redis
            from redis import exceptions
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            text = "redis is not installed; right would be: pip install 'countersign-proxy[redis]'"
            raise ConfigError(f"tokens.store: {text}") from None
        self._errors = exceptions
        found = options(url)
        self.database: int = found.get("db", 0)
        self.trouble = ""
        self._where = f"the token store {shown(url)}"
        self._malformed = RareWarning(warn)
        self._rest_until = 0.0
        self._client = redis.Redis(
            **found,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        if "host" in found:
            pool = self._client.connection_pool
            pool.connection_class = type("Resolved", (_Resolved, pool.connection_class), {})

    async def __call__(self, *command: bytes | str | float) -> Any:  # Any: what the server answers
        """Return the answer to a command. A cancelled call is over when there is one.

        Raises:
            StoreError: there is none.

        """
        # In a task of its own: cancelled itself, redis-py may go on as if it were not (redis-py 8.1, Python 3.11).
        return await whatever_comes(asyncio.ensure_future(self._answer(command)))

    async def _answer(self, command: tuple[bytes | str | float, ...]) -> Any:  # Any: as above
        if self.trouble and asyncio.get_running_loop().time() < self._rest_until:
            raise StoreError(self.trouble)
        try:
            answer = await self._client.execute_command(*command)  # type: ignore[no-untyped-call]  # not annotated
        except self._errors.ResponseError as failure:
            self.trouble = ""
            raise StoreError(f"{self._where} refuses: {_code(failure)}") from None
        except (self._errors.RedisError, OSError) as failure:
            raise self._away(failure) from None
        self.trouble = ""
        return answer

    async def keys(self, prefix: bytes) -> set[bytes]:
        """Return all keys that begin with `prefix`; otherwise as a command."""
        found: set[bytes] = set()
        cursor = 0
        while True:
            cursor, keys = await self("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", 100)
            found.update(keys)
            if not cursor:
                return found

    async def follow(self, channel: str, begin: Callable[[], Awaitable[None]], heard: Callable[[bytes], None]) -> None:
        """Let `heard` have what is published, until this is cancelled.

        Args:
            channel: where.
            begin: called when nothing is missed any more, again each time after the server was away.
            heard: raises ValueError if a message is malformed, which is ignored.

        """
        pause = SOON
        while True:
            with suppress(StoreError):  # whoever needs the server is told, and `trouble` says it
                async with aclosing(self._published(channel)) as published:
                    async for text in published:
                        if text is None:
                            pause = SOON
                            await begin()
                        else:
                            self._take(text, channel, heard)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LATER)

    def _take(self, text: bytes, channel: str, heard: Callable[[bytes], None]) -> None:
        try:
            heard(text)
        except ValueError:  # also UnicodeDecodeError
            self._malformed(f"{self._where} sent a malformed message on {channel}, which is ignored")

    def ignored(self, what: str) -> None:
        """Warn that something is ignored which others have put there. It is not repeated."""
        self._malformed(f"{self._where} holds {what}, which is ignored")

    async def _published(self, channel: str) -> AsyncGenerator[bytes | None]:
        """Yield what is published; before it None, when nothing is missed any more.

        Raises:
            StoreError: the server is away.

        """
        async with self._client.pubsub() as subscription:
            try:
                await subscription.subscribe(channel)
                is_alive = False
                while True:
                    _heed_cancellation()
                    message = await subscription.get_message(timeout=HEARTBEAT)
                    if message is None:
                        if not is_alive:
                            raise TimeoutError
                        is_alive = False
                        await subscription.ping()
                        continue
                    is_alive, self.trouble = True, ""
                    if message["type"] == "message":
                        yield message["data"]
                    elif message["type"] == "subscribe":
                        yield None
            except (self._errors.RedisError, OSError) as failure:
                raise self._away(failure) from None

    def _away(self, failure: Exception) -> StoreError:
        self.trouble = f"{self._where} is away: {self._reason(failure)}"
        self._rest_until = asyncio.get_running_loop().time() + REST
        return StoreError(self.trouble)

    def _reason(self, failure: Exception) -> str:
        if isinstance(failure, self._errors.AuthenticationError):
            return "it refuses the user or the password"
        if isinstance(failure, self._errors.TimeoutError | TimeoutError):
            return f"no answer within {PATIENCE:g} s"
        cause = failure if isinstance(failure, OSError) else failure.__cause__ or failure.__context__
        return getattr(cause, "strerror", None) or "the connection broke"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _code(failure: Exception) -> str:
    code = _CODE.match(str(failure))
    return code[0] if code else "an error"


def _heed_cancellation() -> None:
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError  # which redis-py may have swallowed, see above
