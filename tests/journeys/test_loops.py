"""An upstream that is this proxy itself, whatever it is called, is 508 and nothing goes round in circles."""

from __future__ import annotations

import asyncio
import io
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.app import App
from proxy.config import load
from proxy.log import Log
from tests.conftest import Start
from tests.journeys.conftest import Build, House
from tests.journeys.processes import Run
from tests.journeys.wires import HEAD, OK, Api
from tests.sockets import has_ipv6

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
TRUSTED = {"trust_network": True}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def addresses() -> list[str]:
    """This machine's addresses beyond loopback, as far as its name and its way out tell."""
    found = {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # documentation's: nothing is sent
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    return sorted(found)


async def is_loop(house: House, request: bytes = HEAD) -> bool:
    seen = await house.ask(request)
    return (seen.status, seen.error) == (508, "proxy_loop_detected")


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """``api.test`` is 127.0.0.1."""
    real = socket.getaddrinfo

    def found(host: Any, *rest: Any, **named: Any) -> Any:  # Any: as the real one has it
        return real("127.0.0.1" if host == "api.test" else host, *rest, **named)

    monkeypatch.setattr("socket.getaddrinfo", found)


LOOPBACK = ("127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]", "api.test")


@pytest.mark.usefixtures("resolved")
@pytest.mark.parametrize("host", LOOPBACK)
async def test_by_any_name(lead: Build, host: str) -> None:
    port = free_port()
    house = await lead(server={"listen": [f"127.0.0.1:{port}"]}, upstream=f"http://{host}:{port}/base", insecure=True)
    assert await is_loop(house)
    assert '"attempts": 1' in house.proxy.lines


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        *(("0.0.0.0", host) for host in ("127.0.0.1", "0.0.0.0", socket.gethostname(), *addresses())),
        pytest.param("0.0.0.0", "127.0.0.2", marks=LINUX),
        *((address, address) for address in addresses()),
        *([("[::1]", "[::1]"), ("[::]", "[::1]"), ("[::]", "[::]")] if has_ipv6() else []),
    ],
)
async def test_by_any_address_of_this_machine(lead: Build, listen: str, host: str) -> None:
    own, port = free_port(), free_port()
    server = {"listen": [f"127.0.0.1:{own}", f"{listen}:{port}"], **TRUSTED}
    assert await is_loop(await lead(server=server, upstream=f"http://{host}:{port}", insecure=True))


@LINUX
async def test_another_server_on_the_same_port_is_none(lead: Build) -> None:
    async def ok(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(ok, "127.0.0.2", 0) as server:
        port = server.sockets[0].getsockname()[1]
        house = await lead(server={"listen": [f"127.0.0.1:{port}"]}, upstream=f"http://127.0.0.2:{port}")
        assert (await house.ask()).status == 200


@pytest.mark.parametrize("http2", [False, True])
async def test_by_tls(lead: Build, http2: bool) -> None:
    port = free_port()
    server = {"listen": [f"127.0.0.1:{port}"]}
    assert await is_loop(await lead(server=server, upstream=f"https://localhost:{port}", http2=http2))


async def test_by_the_admin_listeners_address(lead: Build) -> None:
    port = free_port()
    assert await is_loop(
        await lead(server={"admin": f"127.0.0.1:{port}"}, upstream=f"http://127.1:{port}", insecure=True)
    )


async def test_by_another_routes_listener(start: Start) -> None:
    port = free_port()
    routes = {
        "api": {"prefix": "/", "upstream": f"http://localhost:{port}"},
        "other": {"listen": f"127.0.0.1:{port}", "upstream": "http://127.0.0.1:9"},
    }
    house = House(await start({"routes": routes}))
    assert await is_loop(house)
    await house.aclose()


async def test_after_a_reload(tmp_path: Path) -> None:
    """The old configuration's upstreams are judged by the addresses that are new."""
    port = free_port()
    server = {"listen": ["127.0.0.1:0"], "admin": ""}
    table: dict[str, Any] = {  # Any: TOML
        "tokens": {"store": "memory"},
        "retry": {"attempts": 1},
        "routes": {"api": {"upstream": f"http://127.0.0.1:{port}"}},
    }
    first = load(overrides={**table, "server": server}, use_file=False)
    second = load(overrides={**table, "server": {**server, "admin": f"127.0.0.1:{port}"}}, use_file=False)
    app = App(first, Log(io.StringIO()), reread=lambda: second)
    await app.start()
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(app.addresses[0])).status_code == 502
        await app.reload()
        assert (await client.get(app.addresses[0])).status_code == 508
    await app.aclose()


@pytest.mark.parametrize("name", ["own.sock", "link.sock", "folder/own.sock"])
async def test_by_a_unix_socket(lead: Build, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.sock").symlink_to("own.sock")
    (tmp_path / "folder").symlink_to(".")
    server = {"listen": ["127.0.0.1:0", f"unix:{tmp_path}/own.sock"]}
    assert await is_loop(await lead(server=server, upstream=f"unix:{tmp_path}/{name}"))


@pytest.mark.parametrize("upstream", ["http://api.test", "https://api.test"])
async def test_by_an_outgoing_proxy(lead: Build, upstream: str) -> None:
    port = free_port()
    house = await lead(
        server={"listen": [f"127.0.0.1:{port}"]}, upstream=upstream, insecure=True, proxy=f"http://localhost:{port}"
    )
    assert await is_loop(house)


async def test_by_a_websocket(lead: Build) -> None:
    port = free_port()
    house = await lead(server={"listen": [f"127.0.0.1:{port}"]}, upstream=f"http://localhost:{port}")
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    assert await is_loop(house, HEAD.replace(b"\r\n\r\n", b"\r\n" + upgrade + b"\r\n"))


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_circle_of_two_proxies_ends_with_the_connections(start: Start, method: bytes) -> None:
    ports = free_port(), free_port()
    first, second = [
        House(
            await start(
                {
                    "server": {"listen": [f"127.0.0.1:{own}"], "connections": 16},
                    "retry": {"backoff": "1ms"},
                    "routes": {"api": {"upstream": f"http://127.0.0.1:{other}"}},
                }
            )
        )
        for own, other in (ports, ports[::-1])
    ]
    seen = await first.ask(HEAD.replace(b"GET", method))
    # The last one may be closed before it has read why.
    assert (seen.status, seen.error) in ((503, "connection_limit_reached"), (502, "connection_terminated"))
    assert second.proxy.lines.count('"event": "request"') < 32
    await first.aclose()
    await second.aclose()


async def test_by_several_workers(run: Run, tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    upstreams = [
        f"http://127.0.0.1:{port}", f"http://127.1:{port}", f"http://localhost:{admin}", f"unix:{tmp_path}/own.sock"
    ]  # fmt: skip
    routes = [
        f'routes.r{at} = {{ prefix = "/{at}", upstream = "{upstream}", insecure = true }}'
        for at, upstream in enumerate(upstreams)
    ]
    server = f'server = {{ listen = ["127.0.0.1:{port}", "unix:{tmp_path}/own.sock"], workers = 2 }}'
    (tmp_path / "countersign.toml").write_text("\n".join([server, 'tokens = { store = "memory" }', *routes]))
    process = await run("run", env={"COUNTERSIGN_SERVER__ADMIN": f"127.0.0.1:{admin}"})
    await process.port()
    for at in [*range(len(upstreams))] * 2:
        seen = await process.ask(HEAD.replace(b"/x", b"/%d/x" % at), port)
        assert (seen.status, seen.error) == (508, "proxy_loop_detected"), upstreams[at]


async def test_a_token_endpoint_that_is_the_proxy_itself_gets_no_request(start: Start, api: Api) -> None:
    port = free_port()
    credential = {
        "type": "oauth2", "grant": "client_credentials", "client_id": "me", "client_secret": "the-client-secret",
        "token_url": f"http://127.0.0.1:{port}/b/oauth/token",
    }  # fmt: skip
    bearer = {"type": "bearer", "token": "of-route-b"}
    running = await start({
        "server": {"listen": [f"127.0.0.1:{port}"]},
        "routes": {
            "a": {"prefix": "/a", "upstream": api.url, "credential": credential},
            "b": {"prefix": "/b", "upstream": api.url, "credential": bearer},
        },
    })  # fmt: skip
    async with httpx.AsyncClient(trust_env=False) as client:
        refused = await client.get(f"{running.url}/a/x")
    assert (refused.status_code, refused.json()["detail"]) == (502, "the token endpoint is this proxy itself")
    assert api.heard == b""
