"""Pauses that replicas share, by a real server."""

from __future__ import annotations

import asyncio

import pytest

from proxy.stores.redis import RedisStore
from tests.stores.conftest import Open
from tests.stores.servers import WANTED, RedisServer

pytestmark = WANTED


class Heard:
    """What a replica has heard.

    Attributes:
        pauses: names and seconds, without those that were shared to see whether it hears.
        trials: how many these were.

    """

    def __init__(self, store: RedisStore) -> None:
        self.pauses: list[tuple[str, float]] = []
        self.trials = 0
        self.end = store.watch_pauses(self._hear)

    def _hear(self, name: str, seconds: float) -> None:
        if name.startswith("trial"):
            self.trials += 1
        else:
            self.pauses.append((name, seconds))

    async def of(self, name: str) -> float:
        """Wait for a pause, and take it."""
        async with asyncio.timeout(5):
            while not (found := [pause for pause in self.pauses if pause[0] == name]):
                await asyncio.sleep(0.01)
        self.pauses.remove(found[0])
        return found[0][1]


@pytest.fixture
async def pair(server: RedisServer, opened: Open) -> tuple[RedisStore, RedisStore]:
    """Two stores as two replicas have them."""
    return opened(server.url), opened(server.url)


async def listening(store: RedisStore, other: RedisStore) -> Heard:
    """A replica that misses nothing from now on."""
    heard = Heard(store)
    async with asyncio.timeout(5):
        number = 0
        while not heard.trials:
            number += 1
            other.share_pause(f"trial {number}", 0.01)
            await asyncio.sleep(0.02)
    return heard


async def test_a_pause_is_heard_by_the_others_and_not_by_who_shared_it(pair: tuple[RedisStore, RedisStore]) -> None:
    one, other = pair
    own, heard = await listening(one, other), await listening(other, one)
    one.share_pause("a route", 30.0)
    assert await heard.of("a route") == 30.0
    assert own.pauses == []


async def test_who_comes_later_hears_of_what_is_left(pair: tuple[RedisStore, RedisStore]) -> None:
    one, other = pair
    early = await listening(other, one)
    one.share_pause("a", 30.0)
    await early.of("a")
    early.end()
    assert 20 < await Heard(other).of("a") <= 30


async def test_a_shorter_pause_and_one_that_hardly_grows_are_not_told(
    pair: tuple[RedisStore, RedisStore], server: RedisServer
) -> None:
    one, other = pair
    heard = await listening(other, one)
    for seconds in (30.0, 30.01, 5.0, 60.0):
        one.share_pause("a", seconds)
    assert {await heard.of("a"), await heard.of("a")} == {30.0, 60.0}
    other.share_pause("a", 10.0)
    one.share_pause("b", 1e30)
    assert await heard.of("b") == 86400.0
    assert heard.pauses == []
    assert int(server.ask("PTTL", "countersign:pause:a").strip(b":")) > 50_000


async def test_while_the_server_is_away_everyone_keeps_to_himself(
    hurried: None, pair: tuple[RedisStore, RedisStore], server: RedisServer
) -> None:
    one, other = pair
    heard = await listening(other, one)
    server.kill()
    one.share_pause("a", 30.0)
    await asyncio.sleep(0.05)
    server.start()
    one.share_pause("b", 30.0)
    async with asyncio.timeout(10):
        while "c" not in dict(heard.pauses):
            one.share_pause("c", 30.0)
            await asyncio.sleep(0.02)
    assert "a" not in dict(heard.pauses)


async def test_names_are_remembered_only_as_long_as_their_pauses_last(
    pair: tuple[RedisStore, RedisStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.stores._pauses.MOST", 10)
    one, _ = pair
    for number in range(40):
        one.share_pause(f"short {number}", 0.01)
        if number % 10 == 9:
            await asyncio.sleep(0.02)
    one.share_pause("a", 30.0)
    assert len(one._pauses._told) <= 10


MALFORMED = [
    b"", b"\xff\xfe", b"x", b"x 1", b"x y z", b"x -1 a", b"x 1e9 a", b"x 1.5 a", b"x nan a", b"x \xd9\xa1 a",
    b"\xff 1 a", b"x 1 \xff", b"x %s a" % (b"9" * 400), b"x %s a" % (b"9" * 5000), b"x  a",
]  # fmt: skip


async def test_malformed_messages_and_keys_end_no_watch(server: RedisServer, opened: Open) -> None:
    warned: list[str] = []
    one, other = opened(server.url), opened(server.url, warn=warned.append)
    server.ask("SET", b"countersign:pause:\xff", "x", "PX", "60000")
    heard = await listening(other, one)
    for message in MALFORMED:
        assert server.ask("PUBLISH", "countersign:0:paused", message) == b":1"
    one.share_pause("a", 30.0)
    assert await heard.of("a") == 30.0
    assert heard.pauses == []
    assert len(warned) == 1
    assert other._link._malformed.count == 1 + len(MALFORMED)


async def test_a_pause_of_others_is_bounded(server: RedisServer, opened: Open) -> None:
    heard = await listening(opened(server.url), opened(server.url))
    for milliseconds in (0, 10**14):
        server.ask("PUBLISH", "countersign:0:paused", f"x {milliseconds} a")
    assert await heard.of("a") == 86400.0
    assert heard.pauses == []
