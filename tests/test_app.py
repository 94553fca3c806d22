"""The process: listening, reloading, ending."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy import places, reload
from proxy.app import App
from proxy.config import Settings, load
from proxy.errors import ConfigError
from proxy.gateway.forward import Gateway
from proxy.generation import Generation
from proxy.listeners import Listener, ListenError
from proxy.listeners.tcp import Tcp
from proxy.log import Log
from proxy.places import Place
from proxy.transport.own import OwnAddresses
from tests.conftest import Start
from tests.doubles import raw_server, read_head


def settings(upstream: str = "http://127.0.0.1:1", **server: Any) -> Settings:
    return load(
        overrides={
            "server": {"listen": ["127.0.0.1:0"], "admin": "", **server},
            "tokens": {"store": "memory"},
            "routes": {"api": {"upstream": upstream, "retry": {"attempts": 1}}},
        },
        use_file=False,
    )


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


async def named(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()


async def test_it_says_where_it_listens(start: Start) -> None:
    running = await start({"routes": {"api": {"upstream": "http://127.0.0.1:1"}}, "server": {"admin": "127.0.0.1:0"}})
    assert running.app.addresses == [running.url]
    assert running.app.status_url is not None
    assert "/?token=" in running.app.status_url
    assert [route.name for route in running.app.routes] == ["api"]


async def test_a_configured_admin_token_is_never_shown(start: Start) -> None:
    running = await start(
        {
            "routes": {"api": {"upstream": "http://127.0.0.1:1"}},
            "server": {"admin": "127.0.0.1:0", "admin_token": "hush"},
        }
    )
    assert running.app.status_url is not None
    assert running.app.status_url.endswith("/")


async def test_a_missing_admin_token_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(settings(admin_token={"env": "NOT_THERE"}), Log(io.StringIO()))
    with pytest.raises(ConfigError, match=r"server\.admin_token"):
        await app.start()


async def test_a_taken_address_is_told_and_nothing_is_left_open() -> None:
    first = App(settings(), Log(io.StringIO()))
    await first.start()
    taken = first.addresses[0].removeprefix("http://")
    second = App(settings(listen=["127.0.0.1:0", taken]), Log(io.StringIO()))
    with pytest.raises(ListenError, match="in use"):
        await second.start()
    await first.aclose()


# -- reload ----------------------------------------------------------------------------------------------


class Reloading:
    """An app whose configuration is what `next` says."""

    def __init__(self, first: Settings) -> None:
        self.next: Settings | Exception = first
        self.lines = io.StringIO()
        self.app = App(first, Log(self.lines, "json"), reread=self._reread)

    def _reread(self) -> Settings:
        if isinstance(self.next, Exception):
            raise self.next
        return self.next


async def test_a_reload_takes_over_routes_and_listeners(tmp_path: Path) -> None:
    async with raw_server(named) as port:
        case = Reloading(settings())
        await case.app.start()
        old = case.app.addresses[0]
        assert (await get(old)).status_code == 502
        socket = tmp_path / "x.sock"
        case.next = settings(f"http://127.0.0.1:{port}", listen=["127.0.0.1:0", f"unix:{socket}"])
        await case.app.reload()
        assert case.app.addresses == [old, f"unix:{socket}"]
        assert (await get(old)).text == "ok"
        case.next = settings(f"http://127.0.0.1:{port}")
        await case.app.reload()
        assert not socket.exists()
        await case.app.aclose()
    assert "reloaded" in case.lines.getvalue()


async def test_a_reload_that_fails_as_nobody_expected_is_not_the_last_one() -> None:
    async with raw_server(named) as port:
        case = Reloading(settings(f"http://127.0.0.1:{port}"))
        await case.app.start()
        case.next = RuntimeError("canary")
        await case.app.reload()
        assert (await get(case.app.addresses[0])).text == "ok"
        case.next = settings(f"http://127.0.0.1:{port}")
        await case.app.reload()
        await case.app.aclose()
    said = case.lines.getvalue()
    assert "canary" not in said
    assert said.index("failed with RuntimeError") < said.index("reloaded")


async def test_a_broken_configuration_leaves_the_old_one_serving() -> None:
    async with raw_server(named) as port:
        case = Reloading(settings(f"http://127.0.0.1:{port}"))
        await case.app.start()
        url = case.app.addresses[0]
        case.next = ConfigError("routes.api: is wrong")
        await case.app.reload()
        assert (await get(url)).text == "ok"
        case.next = settings(listen=["127.0.0.1:0", "192.0.2.1:1"], trust_network=True)
        await case.app.reload()
        assert (await get(url)).text == "ok"
        assert case.app.addresses == [url]
        await case.app.aclose()
    assert case.lines.getvalue().count("reload failed") == 2
    assert "routes.api: is wrong" in case.lines.getvalue()


async def test_a_reload_lets_requests_under_way_end() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await go_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async with raw_server(slow) as port:
        case = Reloading(settings(f"http://127.0.0.1:{port}"))
        await case.app.start()
        waiting = asyncio.create_task(get(case.app.addresses[0]))
        await asked.wait()
        await case.app.reload()
        go_on.set()
        assert (await waiting).text == "ok"
        await case.app.aclose()


async def test_without_a_file_there_is_nothing_to_reload() -> None:
    app = App(settings(), Log(io.StringIO()))
    await app.start()
    await app.reload()
    await app.aclose()


async def test_another_store_is_opened_by_a_reload(tmp_path: Path) -> None:
    case = Reloading(settings())
    await case.app.start()
    other = case.next.model_copy(  # type: ignore[union-attr]
        update={"tokens": case.app.settings.tokens.model_copy(update={"store": "file", "path": tmp_path / "t.json"})}
    )
    case.next = other
    await case.app.reload()
    await case.app.aclose()
    assert "reloaded" in case.lines.getvalue()


async def test_a_reload_that_fails_leaves_the_old_store_in_use(tmp_path: Path) -> None:
    case = Reloading(settings())
    await case.app.start()
    before = case.app.store
    broken = settings("https://api.test")
    route = broken.routes["api"]
    tls = route.tls.model_copy(update={"ca": tmp_path / "gone.pem"})
    tokens = broken.tokens.model_copy(update={"store": "file", "path": tmp_path / "t.json"})
    routes = {"api": route.model_copy(update={"tls": tls})}
    case.next = broken.model_copy(update={"tokens": tokens, "routes": routes})
    await case.app.reload()
    assert "reload failed" in case.lines.getvalue()
    assert case.app.store is before
    await case.app.aclose()


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def close_badly(listener: Listener) -> None:
    Listener.close(listener)
    refuse()


async def refuse_later(*_: object, **__: object) -> None:
    refuse()


# Each step of taking over that can fail in some way, and whether it comes before the new configuration holds.
STEPS: list[tuple[object, str, object, bool]] = [
    (places, "bind", refuse, True),
    (OwnAddresses, "are", refuse, True),
    (Tcp, "prepare", refuse_later, True),
    (Tcp, "_server", refuse_later, True),
    (Tcp, "serve", refuse_later, True),
    (Tcp, "close", close_badly, False),
    (Gateway, "aclose", refuse_later, False),
]


@pytest.mark.parametrize(("owner", "name", "broken", "before"), STEPS, ids=[step[1] for step in STEPS])
async def test_a_step_that_fails_leaves_one_configuration_serving_the_other_closed_and_reloads_possible(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, broken: object, before: bool
) -> None:
    closed: list[str] = []
    aclose = Generation.aclose

    async def counted(self: Generation) -> None:
        closed.append(str(self.settings.routes["api"].upstream.port))
        await aclose(self)

    monkeypatch.setattr(Generation, "aclose", counted)
    async with raw_server(named) as first, raw_server(named) as second, raw_server(named) as third:
        case = Reloading(settings(f"http://127.0.0.1:{first}", listen=["127.0.0.1:0", "localhost:0"]))
        await case.app.start()
        kept = case.app.addresses[0]
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            case.next = settings(f"http://127.0.0.1:{second}", listen=["127.0.0.1:0", "[::1]:0"])
            await case.app.reload()
            assert len(case.app._ending) <= 1
            await asyncio.gather(*case.app._ending)
        serving = first if before else second
        assert case.app.routes[0].settings.upstream.port == serving
        assert closed == [str(second if before else first)]
        for url in case.app.addresses:
            assert (await get(url)).text == "ok"
        assert ("Too many open files" in case.lines.getvalue()) == before
        assert "reload failed" in case.lines.getvalue() or not before
        case.next = settings(f"http://127.0.0.1:{third}", listen=["127.0.0.1:0", "[::1]:0"])
        await case.app.reload()
        assert case.app.routes[0].settings.upstream.port == third
        assert (await get(kept)).text == "ok"
        await case.app.aclose()
    assert '"reloaded"' in case.lines.getvalue()


async def test_the_end_closes_what_a_reload_has_just_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Generation] = []
    aclose = Generation.aclose

    async def counted(self: Generation) -> None:
        closed.append(self)
        await aclose(self)

    monkeypatch.setattr(Generation, "aclose", counted)
    case = Reloading(settings())
    await case.app.start()
    await case.app.reload()
    await case.app.aclose()
    assert len(closed) == len(set(closed)) == 2


async def test_neither_reading_nor_certificates_nor_binding_hold_up_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Reloading(settings())
    await case.app.start()
    slow = 0.4
    for owner, name in ((case, "_reread"), (ssl, "create_default_context"), (socket, "getaddrinfo")):
        monkeypatch.setattr(owner, name, held_up(getattr(owner, name), slow))
    case.app._reread = case._reread
    case.next = settings("https://127.0.0.1:1", listen=["127.0.0.1:0", "localhost:0"])
    longest, last = 0.0, time.monotonic()
    reloading = asyncio.create_task(case.app.reload())
    while not reloading.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert '"reloaded"' in case.lines.getvalue()
    assert longest < slow / 2
    await case.app.aclose()


async def test_a_reload_that_hangs_is_given_up_and_later_ones_work(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    bind, bound = places.bind, []

    def hang(*arguments: Any) -> dict[Place, Listener]:
        go_on.wait(10)
        bound.append(bind(*arguments))
        return bound[-1]

    case = Reloading(settings())
    await case.app.start()
    case.next = settings("http://127.0.0.1:2", listen=["127.0.0.1:0", "localhost:0"])
    with monkeypatch.context() as patch:
        patch.setattr(places, "bind", hang)
        patch.setattr(reload, "PATIENCE", 0.05)
        await case.app.reload()
        assert "reload failed, the old configuration goes on: took longer than" in case.lines.getvalue()
        go_on.set()
        async with asyncio.timeout(10):
            while not bound or any(sock.fileno() >= 0 for each in bound[0].values() for sock in each.sockets):
                await asyncio.sleep(0.001)
    await case.app.reload()
    assert case.app.routes[0].settings.upstream.port == 2
    await case.app.aclose()


def held_up(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    def held(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments, **options)

    return held


async def test_a_reload_that_is_cancelled_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Reloading(settings())
    await case.app.start()
    begun = asyncio.Event()

    async def never(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    bound: list[Listener] = []
    bind = places.bind

    def noted(*arguments: Any) -> dict[Place, Listener]:
        opened = bind(*arguments)
        bound.extend(opened.values())
        return opened

    monkeypatch.setattr(places, "bind", noted)
    monkeypatch.setattr(Tcp, "serve", never)
    case.next = settings(listen=["127.0.0.1:0", "localhost:0"])
    before = case.app.routes
    reloading = asyncio.create_task(case.app.reload())
    await begun.wait()
    reloading.cancel()
    await asyncio.wait([reloading])
    assert case.app.routes is before
    assert [sock.fileno() for listener in bound for sock in listener.sockets] == [-1]
    await case.app.aclose()


# -- the end ---------------------------------------------------------------------------------------------


async def test_what_is_under_way_is_cut_short_when_the_end_is_wanted_at_once() -> None:
    asked = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await asyncio.Event().wait()

    async with raw_server(never) as port:
        app = App(settings(f"http://127.0.0.1:{port}", shutdown_grace="1h"), Log(io.StringIO()))
        await app.start()
        request = asyncio.create_task(get(app.addresses[0]))
        await asked.wait()
        assert app.busy == 1
        at_once = asyncio.Event()
        ending = asyncio.create_task(app.end(at_once))
        await asyncio.sleep(0.02)
        assert not ending.done()
        at_once.set()
        async with asyncio.timeout(5):
            await ending
        with pytest.raises(httpx.HTTPError):
            await request
