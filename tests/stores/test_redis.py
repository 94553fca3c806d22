"""The redis store against a real server, which is killed, frozen, refuses and comes back."""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.errors import ConfigError, StoreError
from proxy.stores import Setup, Token, _redis
from proxy.stores.redis import RedisStore
from tests.stores.conftest import Open
from tests.stores.servers import WANTED, RedisServer

pytestmark = WANTED
TOKEN = Token("access-canary", 1000.5, "refresh-canary")


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


# -- the URL ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://h", {"host": "h", "port": 6379, "ssl": False}),
        ("redis://h:1/", {"host": "h", "port": 1, "ssl": False}),
        ("redis://[::1]:1/2", {"host": "::1", "port": 1, "db": 2, "ssl": False}),
        (
            "redis://u:p%40@h?db=3",
            {"host": "h", "port": 6379, "ssl": False, "username": "u", "password": "p@", "db": 3},
        ),
        ("rediss://:p@h", {"host": "h", "port": 6379, "ssl": True, "password": "p"}),
        ("rediss://h?ssl_ca_certs=/ca.pem", {"host": "h", "port": 6379, "ssl": True, "ssl_ca_certs": "/ca.pem"}),
        ("unix:///run/r.sock", {"unix_socket_path": "/run/r.sock"}),
        ("unix://u:p@/run/r%20s?db=1", {"unix_socket_path": "/run/r s", "username": "u", "password": "p", "db": 1}),
    ],
)  # fmt: skip
def test_a_url_means_what_it_says(url: str, found: dict[str, object]) -> None:
    RedisStore.check(url)
    assert {key: value for key, value in _redis.options(url).items() if value is not None} == found


@pytest.mark.parametrize(
    "url",
    ["redis://", "redis:///1", "redis://h:x", "redis://h:0x1", "redis://h:99999", "redis://h/a", "redis://h/-1",
     "redis://h#f", "redis://h?ssl_ca_certs=x", "rediss://h?ssl_cert_reqs=none", "redis://h?db=x", "redis://h?a",
     "redis://[", "redis://h?password=canary", "unix://", "unix://h/x", "unix://x", "unix:///x?db=", "unix:///x#f"],
)  # fmt: skip
def test_a_malformed_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a redis URL; right would be ") as caught:
        RedisStore.check(url)
    assert "canary" not in str(caught.value)


async def test_the_password_in_it_is_never_shown(opened: Open, hurried: None) -> None:
    store = opened("redis://user:pass-canary@127.0.0.1:1/1")
    with pytest.raises(StoreError, match="is away: ") as caught:
        await store.load("a")
    assert str(caught.value) == store.trouble()
    assert "redis://127.0.0.1:1/1" in str(caught.value)
    assert "canary" not in f"{store!r} {caught.value!r} {caught.value.__cause__!r}"


def test_without_the_package_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "redis":
            raise ImportError
        return real(name, *rest)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'countersign-proxy\[redis\]'"):
        RedisStore.create(Setup(Path(), "redis://h"))


@pytest.mark.parametrize(
    ("url", "keys", "is_told"),
    [("redis://h", (), True), ("redis://h", (b"k",), False), ("rediss://h", (), False), ("redis://[::1]", (), False),
     ("unix:///x", (), False)],
)  # fmt: skip
async def test_tokens_that_the_network_could_read_are_told(
    url: str, keys: tuple[bytes, ...], is_told: bool, opened: Open
) -> None:
    told: list[str] = []
    opened(url, *keys, warn=told.append)
    assert [text.partition(" that everyone")[0] for text in told] == [f"the token store {url} is sent tokens"] * is_told


# -- keys ------------------------------------------------------------------------------------------------


async def test_with_a_key_the_server_sees_nothing(shared_server: RedisServer, opened: Open) -> None:
    await opened(shared_server.url, b"key-canary").save("a", TOKEN)
    raw = shared_server.ask("GET", "countersign:token:a")
    assert b"cipher" in raw
    assert b"canary" not in raw


async def test_what_another_key_has_encrypted_is_told_and_stays(shared_server: RedisServer, opened: Open) -> None:
    store = opened(shared_server.url, b"key-canary")
    await store.save("a", TOKEN)
    for other in (opened(shared_server.url, b"other"), opened(shared_server.url)):
        for work in (other.load("a"), other.save("a", Token("t", None)), other.forget("a")):
            with pytest.raises(StoreError, match=r"the token of a is encrypted.*tokens\.key"):
                await work
    assert await store.load("a") == TOKEN
    rotated = opened(shared_server.url, b"new", b"key-canary")
    assert await rotated.load("a") == TOKEN
    await rotated.save("a", TOKEN)
    assert await opened(shared_server.url, b"new").load("a") == TOKEN


async def test_a_token_under_anothers_name_is_none(shared_server: RedisServer, opened: Open) -> None:
    store = opened(shared_server.url, b"key-canary")
    await store.save("a", TOKEN)
    shared_server.ask("RENAME", "countersign:token:a", "countersign:token:b")
    assert await store.load("b") is None


async def test_a_token_that_somebody_has_planted_is_ignored_and_reported(
    shared_server: RedisServer, opened: Open
) -> None:
    told: list[str] = []
    await opened(shared_server.url).save("a", Token("planted-canary", None))
    store = opened(shared_server.url, b"key", warn=told.append)
    assert await store.load("a") is None
    assert "the token of a is not encrypted, though tokens.key is set" in told[0]
    assert "canary" not in str(told)
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN


async def test_a_damaged_token_is_told_and_replaced(shared_server: RedisServer, opened: Open) -> None:
    told: list[str] = []
    store = opened(shared_server.url, warn=told.append)
    shared_server.ask("SET", "countersign:token:a", "torn-canary")
    assert await store.load("a") is None
    await store.save("a", TOKEN)
    assert await store.load("a") == TOKEN
    assert "the token of a is torn" in told[0]
    assert "canary" not in str(told)


# -- away and back ---------------------------------------------------------------------------------------


async def test_a_server_that_is_killed_in_the_middle_of_a_renewal_is_away_until_it_is_back(
    hurried: None, server: RedisServer, opened: Open
) -> None:
    store = opened(server.url)
    await store.save("a", Token("old", None))
    async with store.lock("a"):
        server.kill()
        with pytest.raises(StoreError, match="is away: "):
            await store.save("a", TOKEN)
        assert "is away" in str(store.trouble())
        with pytest.raises(StoreError, match="is away: "):
            async with store.lock("b"):
                pass
    server.start()
    await asyncio.sleep(_redis.REST)
    assert await store.load("a") == Token("old", None)
    assert store.trouble() is None
    async with asyncio.timeout(10), store.lock("a"):
        await store.save("a", TOKEN)
    server.kill()
    server.start()
    await asyncio.sleep(_redis.REST)
    assert await opened(server.url).load("a") == TOKEN


async def test_while_a_server_hangs_nobody_waits_long_for_it(hurried: None, server: RedisServer, opened: Open) -> None:
    store = opened(server.url)
    await store.save("a", TOKEN)
    server.signal(signal.SIGSTOP)
    begun = asyncio.get_running_loop().time()
    for _ in range(100):
        with pytest.raises(StoreError, match="no answer within"):
            await store.load("a")
    assert asyncio.get_running_loop().time() - begun < 4 * _redis.PATIENCE
    server.signal(signal.SIGCONT)
    await asyncio.sleep(_redis.REST)
    assert await store.load("a") == TOKEN


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_who_watches_sees_it_go_and_hears_of_everything_when_it_is_back(
    hurried: None, end: signal.Signals, server: RedisServer, opened: Open
) -> None:
    told: list[str] = []
    store, other = opened(server.url), opened(server.url)
    store.watch(told.append)
    await other.save("a", TOKEN)
    await until(lambda: "a" in told)
    told.clear()
    if end == signal.SIGKILL:
        server.kill()
    else:
        server.signal(end)
    await until(store.trouble)
    if end == signal.SIGKILL:
        server.start()
    else:
        server.signal(signal.SIGCONT)
    await until(lambda: "a" in told)
    assert store.trouble() is None


async def test_tokens_that_the_server_has_lost_were_not_forgotten(
    hurried: None, server: RedisServer, opened: Open
) -> None:
    told: list[str] = []
    store = opened(server.url)
    store.watch(told.append)
    for name in ("a", "b"):
        await store.save(name, TOKEN)
        await until(lambda name=name: name in told)  # type: ignore[misc]  # mypy knows no such lambda
    told.clear()
    server.ask("DEL", "countersign:token:a")
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: told)
    assert told == ["b"]


async def test_malformed_messages_and_keys_are_ignored_counted_and_end_no_watch(
    server: RedisServer, opened: Open
) -> None:
    warned: list[str] = []
    told: list[str] = []
    store, other = opened(server.url, warn=warned.append), opened(server.url)
    server.ask("SET", b"countersign:token:\xff\xfe", "x")  # is there when the watch begins, too
    store.watch(told.append)
    await other.save("a", TOKEN)
    await until(lambda: "a" in told)
    for _ in range(50):
        assert server.ask("PUBLISH", "countersign:0:changed", b"\xff\xfe canary") == b":1"
    await other.save("b", TOKEN)
    await until(lambda: "b" in told)
    assert await store.names() == ["a", "b"]
    (line,) = warned
    assert line == f"the token store {server.url} holds a key that is not UTF-8, which is ignored (1 so far)"
    assert store._link._malformed.count == 52


async def test_a_password_that_is_refused_and_a_server_that_refuses_to_write_are_told(
    opened: Open, hurried: None
) -> None:
    server = RedisServer("--requirepass", "pass-canary")
    try:
        with pytest.raises(StoreError, match="is away: it refuses the user or the password"):
            await opened(server.url.replace("//", "//:wrong-canary@")).load("a")
        with pytest.raises(StoreError, match=r"refuses: NOAUTH|is away: it refuses"):
            await opened(server.url).load("a")
        store = opened(server.url.replace("//", "//:pass-canary@"))
        await store.save("a", TOKEN)
        await store._link("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(StoreError, match="refuses: NOREPLICAS"):
            await store.save("a", Token("t", None))
        assert await store.load("a") == TOKEN
        assert "NOREPLICAS" in str(store.trouble())
        await store._link("CONFIG", "SET", "min-replicas-to-write", 0)
        await store.save("a", TOKEN)
        assert store.trouble() is None
    finally:
        server.close()


async def test_by_tls_the_certificate_is_checked(opened: Open, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RedisServer(
        "--tls-port", str(port), "--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file",
        str(tmp_path / "key.pem"), "--tls-ca-cert-file", str(tmp_path / "ca.pem"), "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        store = opened(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        await store.save("a", TOKEN)
        assert await store.load("a") == TOKEN
        with pytest.raises(StoreError, match="is away: "):
            await opened(f"rediss://127.0.0.1:{port}").load("a")
    finally:
        server.close()


async def test_a_name_server_that_hangs_takes_no_thread_from_others(
    monkeypatch: pytest.MonkeyPatch, hurried: None, opened: Open
) -> None:
    gate, real = threading.Event(), socket.getaddrinfo

    def hanging(host: Any, *rest: Any, **named: Any) -> Any:
        if host == "hang.test":
            assert gate.wait(30)
        return real(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    monkeypatch.setattr(_redis, "REST", 0.0)
    store = opened("redis://hang.test")
    for _ in range(2 * (os.cpu_count() or 1) + 8):
        with pytest.raises(StoreError, match="no answer within"):
            await store.load("name")
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(int) == 0
    gate.set()
