"""The clients of a soak: each kind asks for one thing, checks what came, and says how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import aiohttp

from bench.soak.api import FIELD
from bench.soak.pattern import digest, pattern

MIB = 1 << 20
_PATIENCE = 40.0  # seconds for anything, which is more than the proxy ever has
_ECHO = 5.0  # seconds for an echo
Ask = Callable[["Client", int], Awaitable[None]]


class WrongError(Exception):
    """What came is wrong: not what was asked for, yet it looked complete, or a failure that should not be."""


class FailedError(Exception):
    """It failed, and that was told as it should be; the text says how."""


class Client:
    """Someone who asks; one for all kinds.

    Args:
        session: with connections that are kept.
        url: the proxy's.

    """

    def __init__(self, session: aiohttp.ClientSession, url: str, random: Random) -> None:
        self.session = session
        self.url = url
        self.random = random

    async def ask(self, kind: str, number: int) -> str:
        """Ask; return how it went: ``ok``, or how it failed.

        Raises:
            WrongError: something came that must not.

        """
        try:
            async with asyncio.timeout(_PATIENCE):
                await KINDS[kind][1](self, number)
        except FailedError as failure:
            return str(failure)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError) as failure:
            return f"broke off: {type(failure).__name__}"
        except TimeoutError:
            raise WrongError(f"{kind} {number}: nothing came for too long") from None
        return "ok"

    async def expect(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        """Read an answer, which has to have this body or to be an honest failure."""
        found = await response.read()
        if response.status != 200:
            raise FailedError(_failure(response, found))
        if found != body:
            raise WrongError(f"{response.url}: {len(found)} bytes that are not the {len(body)} that were asked for")


def _failure(response: aiohttp.ClientResponse, body: bytes) -> str:
    told = response.headers.get("Proxy-Status", "")
    error = told.partition("error=")[2].partition(";")[0]
    if response.status not in (401, 429, 502, 503, 504) or error == "proxy_internal_error":
        raise WrongError(f"{response.url}: {response.status} {told} {body[:200]!r}")
    if FIELD in response.headers:
        details = told.partition('details="')[2].rstrip('"')
        return f"{response.status} of the API, {details}" if details else f"{response.status} of the API"
    if not error:
        raise WrongError(f"{response.url}: {response.status}, and nobody says whose")
    return f"{response.status} {error}"


async def _small(client: Client, number: int) -> None:
    await _get(client, f"plain/bytes/{number}/", client.random.randrange(2000), number)


async def _oauth2(client: Client, number: int) -> None:
    await _get(client, f"tokens/private/{number}/", client.random.randrange(2000), number)


async def _throttled(client: Client, number: int) -> None:
    await _get(client, f"slow/throttled/{number}/", 300, number)


async def _flaky(client: Client, number: int) -> None:
    await _get(client, f"plain/flaky/{number}/", 300, number)


async def _download(client: Client, number: int) -> None:
    await _get(client, f"plain/bytes/{number}/", client.random.randrange(MIB, 4 * MIB), number)


async def _get(client: Client, path: str, size: int, number: int) -> None:
    async with client.session.get(f"{client.url}/{path}{size}") as response:
        await client.expect(response, pattern(number, size))


async def _post(client: Client, number: int) -> None:
    await _send(client, "POST", pattern(number, client.random.randrange(20_000)))


async def _upload(client: Client, number: int) -> None:
    await _send(client, "PUT", pattern(number, client.random.randrange(MIB, 4 * MIB)))


async def _send(client: Client, method: str, body: bytes) -> None:
    async with client.session.request(method, f"{client.url}/plain/digest", data=body) as response:
        await client.expect(response, digest(body).encode())


async def _events(client: Client, number: int) -> None:
    count = number % 30
    async with client.session.get(f"{client.url}/plain/events/{count}") as response:
        await client.expect(response, b"".join(b"data: %d\n\n" % each for each in range(count)))


async def _socket(client: Client, number: int) -> None:
    try:
        async with client.session.ws_connect(f"{client.url}/plain/socket") as socket:
            for turn in range(number % 10):
                said = pattern(number + turn, client.random.randrange(60_000))
                await socket.send_bytes(said)
                message = await _heard(socket)
                if message.type is not aiohttp.WSMsgType.BINARY:
                    raise FailedError("broke off: WebSocket")
                if message.data != said:
                    raise WrongError(f"WebSocket {number}: an echo of something else")
    except aiohttp.WSServerHandshakeError as failure:
        raise FailedError(f"{failure.status} at the handshake") from None


async def _heard(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    try:
        return await socket.receive(_ECHO)
    except TimeoutError:
        # Whoever is between two ends of a WebSocket can't know that they wait for each other.
        raise FailedError("hung: WebSocket") from None


async def _leaves(client: Client, number: int) -> None:
    """Go away in the middle of whatever it is."""
    ask = client.random.choice([_download, _upload, _events, _socket, _oauth2, _throttled])
    try:
        async with asyncio.timeout(client.random.uniform(0, 0.2)):
            await ask(client, number)
    except TimeoutError:
        pass


KINDS: dict[str, tuple[float, Ask]] = {
    "small": (50, _small), "oauth2": (15, _oauth2), "post": (15, _post), "flaky": (4, _flaky),
    "throttled": (3, _throttled), "events": (2, _events), "websocket": (2, _socket), "download": (2, _download),
    "upload": (2, _upload), "leaves": (5, _leaves),
}  # fmt: skip
"""What a kind of client does, and how many of a hundred are of that kind."""
