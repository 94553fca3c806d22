"""Where a route's requests go, and what becomes of answers that nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.errors import ResponseIncomplete
from proxy.gateway.body import NO_BODY
from proxy.gateway.upstream import KEPT, Draft, Upstream, discard, keep
from tests.doubles import Pieces, Script, answer

URL = httpx.URL("https://api.test/v1/")


class Counting(Pieces):
    """Counts how much of it was read."""

    read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in super().__aiter__():
            self.read += len(piece)
            yield piece


class Endless(httpx.AsyncByteStream):
    """Goes on in small pieces, or not at all."""

    closed = False

    def __init__(self, end: Exception | None = None) -> None:
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"a"
        if self._end is not None:
            raise self._end
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


def response(stream: httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(429, stream=stream)


async def rest(response: httpx.Response | None) -> bytes:
    assert response is not None
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


# -- requests --------------------------------------------------------------------------------------------


def test_a_sending_is_a_fresh_request_with_the_clients_bytes() -> None:
    draft = Draft("GET", b"/a%2Fb?\xff", [(b"x-A", b"\xff"), (b"x-a", b"2")])
    upstream = Upstream(URL, Script(), Script())
    first, second = upstream.request(draft), upstream.request(draft)
    assert first.headers.raw == [(b"x-A", b"\xff"), (b"x-a", b"2")]
    assert first.extensions == {"target": b"/a%2Fb?\xff"}
    assert first.url is URL
    assert first.method == "GET"
    assert first.stream is NO_BODY
    first.headers["x-a"] = "changed"
    first.extensions["more"] = 1
    assert second.headers.raw == draft.fields == [(b"x-A", b"\xff"), (b"x-a", b"2")]
    assert second.extensions == {"target": b"/a%2Fb?\xff"}


@pytest.mark.parametrize(
    ("url", "base", "authority", "plain"),
    [
        ("https://api.test/v1/", b"/v1", b"api.test", b"api.test"),
        ("https://API.test:443", b"", b"api.test", b"api.test"),
        ("http://api.test:80/", b"", b"api.test", b"api.test"),
        ("http://api.test:443/a/b", b"/a/b", b"api.test:443", b"api.test:443"),
        ("http://[::1]:9000", b"", b"[::1]:9000", b"[::1]:9000"),
    ],
)
def test_an_origin(url: str, base: bytes, authority: bytes, plain: bytes) -> None:
    upstream = Upstream(httpx.URL(url), Script(), Script())
    assert (upstream.base, upstream.authority, upstream.plain_authority) == (base, authority, plain)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.test/elsewhere?x", True),
        ("https://api.test:443/", True),
        ("https://API.TEST/", True),
        ("http://api.test/", False),
        ("https://api.test:8443/", False),
        ("https://api.test.evil/", False),
        ("https://x.api.test/", False),
        ("https://api.test@evil.test/", False),
        ("https://api.test./", False),
    ],
)
async def test_a_credential_only_goes_to_its_own_origin(url: str, *, own: bool) -> None:
    ours, foreign = Script(), Script()
    upstream = Upstream(URL, ours, foreign)
    request = httpx.Request("GET", url)
    assert upstream.is_own(request) is own
    await upstream.send(request)
    assert (len(ours.requests), len(foreign.requests)) == ((1, 0) if own else (0, 1))


async def test_a_request_of_the_routes_own_goes_to_the_origin() -> None:
    ours = Script()
    upstream = Upstream(URL, ours, Script())
    request = upstream.request(Draft("GET", b"/", []))
    assert upstream.is_own(request)
    await upstream.send(request)
    assert len(ours.requests) == 1


async def test_closing_closes_the_connections() -> None:
    closed = []

    class Closing(Script):
        async def aclose(self) -> None:
            closed.append(self)

    ours = Closing()
    await Upstream(URL, ours, Closing()).aclose()
    assert closed == [ours]


# -- answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a", b"b"], [b"x" * KEPT]])
async def test_a_small_answer_is_kept_and_its_connection_free(pieces: list[bytes]) -> None:
    stream = Counting(*pieces)
    kept = await keep(response(stream))
    assert stream.closed
    assert await rest(kept) == b"".join(pieces)


async def test_a_large_answer_is_handed_on_as_it_comes() -> None:
    stream = Counting(*[b"x" * 40_000] * 5)
    kept = await keep(response(stream))
    assert kept is not None
    assert stream.read == 80_000
    assert not stream.closed
    assert await rest(kept) == b"x" * 200_000
    assert isinstance(kept.stream, httpx.AsyncByteStream)
    await kept.stream.aclose()
    assert stream.closed


async def test_an_answer_that_breaks_off_or_stalls_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.gateway.upstream._DRAIN", 0.01)
    for stream in (Endless(ResponseIncomplete(sent=True, begun=True)), Endless()):
        assert await keep(response(stream)) is None
        assert stream.closed


async def test_a_small_answer_is_read_to_its_end_before_it_is_closed() -> None:
    stream = Counting(b"a", b"b")
    await discard(response(stream))
    assert stream.closed
    assert stream.read == 2


async def test_a_large_one_is_not() -> None:
    stream = Counting(*[b"x" * KEPT] * 50)
    await discard(response(stream))
    assert stream.closed
    assert stream.read <= 3 * KEPT


async def test_what_was_kept_can_be_discarded() -> None:
    kept = await keep(answer(429, [], b"a"))
    assert kept is not None
    await discard(kept)
    assert kept.is_closed


async def test_an_answer_that_breaks_off_is_discarded_all_the_same() -> None:
    stream = Endless(ResponseIncomplete(sent=True, begun=True))
    await discard(response(stream))
    assert stream.closed


async def test_nobody_waits_long_for_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.gateway.upstream._DRAIN", 0.01)
    stream = Endless()
    await discard(response(stream))
    assert stream.closed


async def test_who_is_cancelled_meanwhile_closes_it_too() -> None:
    stream = Endless()
    task = asyncio.create_task(discard(response(stream)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert stream.closed
