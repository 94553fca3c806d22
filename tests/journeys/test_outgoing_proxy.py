"""Whatever the proxy requests in a company: through the outgoing proxy, which alone knows where the names lead."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import Start
from tests.forwarding import Asked, ForwardProxy
from tests.http2 import Receive, Scope, Send, body_of, http2_server
from tests.http2 import answer as http2_answer
from tests.journeys.conftest import HEAD, House
from tests.journeys.processes import Run
from tests.journeys.test_streaming import FRAME, HANDSHAKE
from tests.journeys.wires import Api, Line, Message, answer
from tests.sockets import reset

TOKEN = "t0ken-of-the-issuer"
USER, PASSWORD = "u5er-of-the-company", "s3cret:p@ss"
AUTHORIZATION = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
MEMBER = {"type": "oauth2", "grant": "client_credentials", "client_id": "c", "client_secret": "s3cret-of-the-client"}
CLIENT = {**MEMBER, "token_url": "http://token.test/token", "insecure": True}


def url(proxy: ForwardProxy) -> str:
    return f"http://{USER}:s3cret%3Ap%40ss@localhost:{proxy.port}"


async def issue(message: Message, line: Line) -> None:
    """Be every server that credentials ask."""
    scheme = "https" if line.writer.get_extra_info("ssl_object") else "http"
    server = f"{scheme}://token.test"
    told: dict[str, Any] = {"access_token": TOKEN, "token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
    if b"well-known" in message.target:
        told = {"issuer": server, "token_endpoint": f"{server}/token"}
    if message.target == b"/device":
        told = {"device_code": "d", "user_code": "U", "verification_uri": f"{server}/u", "interval": 0.001}
    await line.send(answer(200, json.dumps(told).encode(), "Content-Type: application/json"))


@pytest.fixture
async def issuer() -> AsyncIterator[Api]:
    async with Api() as made:
        made.always = issue
        yield made


@pytest.fixture
async def forward(api: Api, issuer: Api) -> AsyncIterator[ForwardProxy]:
    async with ForwardProxy({"api.test": api.port, "token.test": issuer.port}, AUTHORIZATION) as made:
        yield made


class Elsewhere(httpx.Auth):
    """Fetches its token in its flow."""

    requires_response_body = True

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        told = yield httpx.Request("POST", "http://token.test/token", content=b"x")
        request.headers["Authorization"] = f"Bearer {told.json()['access_token']}"
        yield request


def key_file(tmp_path: Path) -> dict[str, Any]:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = tmp_path / "key.pem"
    pem.write_bytes(key)
    return {"file": str(pem)}


def credential(kind: str, tmp_path: Path) -> dict[str, Any]:
    match kind:
        case "issuer":
            return {**MEMBER, "issuer": "http://token.test", "insecure": True}
        case "session":
            login = {"url": "http://token.test/login", "form": {"user": "u"}}
            return {"type": "session", "login": login, "token": "token", "insecure": True}
        case "github_app":
            ids = {"app_id": 1, "installation_id": 2, "key": key_file(tmp_path)}
            return {"type": "github_app", "api_url": "http://token.test", "insecure": True, **ids}
        case "python":
            return {"type": "python", "class": f"{__name__}:Elsewhere"}
        case "token_url":
            return CLIENT
        case _:
            return {"type": kind, "credentials": ["one", "two"]}


CREDENTIALS = {"one": CLIENT, "two": CLIENT}
KINDS = ["token_url", "issuer", "session", "github_app", "python", "fallback", "rotate"]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_credential_requests_goes_by_the_proxy_of_its_route(
    start: Start, api: Api, forward: ForwardProxy, tmp_path: Path, kind: str
) -> None:
    route = {"upstream": "http://api.test", "insecure": True, "credential": credential(kind, tmp_path)}
    table = {"routes": {"api": {**route, "proxy": url(forward)}}, "credentials": CREDENTIALS}
    house = House(await start(table))
    assert (await house.ask()).status == 200
    assert api.messages[0].get("Authorization") == f"Bearer {TOKEN}".encode()
    assert forward.hosts == {"api.test", "token.test"}
    assert {asked.authorization for asked in forward.asked} == {AUTHORIZATION}
    assert api.messages[0].get("Proxy-Authorization") is None
    await house.aclose()


@pytest.mark.parametrize("kind", ["token_url", "python"])
async def test_a_proxy_of_its_own_comes_before_that_of_the_route(
    start: Start, api: Api, issuer: Api, forward: ForwardProxy, tmp_path: Path, kind: str
) -> None:
    async with ForwardProxy({"token.test": issuer.port}) as own:
        proxy = f"http://127.0.0.1:{own.port}"
        inner = {**credential(kind, tmp_path), "proxy": proxy}
        route = {"upstream": "http://api.test", "insecure": True, "credential": inner, "proxy": url(forward)}
        house = House(await start({"routes": {"api": route}}))
        assert (await house.ask()).status == 200
        assert (forward.hosts, own.hosts) == ({"api.test"}, {"token.test"})
        await house.aclose()


async def test_the_proxy_of_the_top_level_holds_but_never_for_this_machine(
    start: Start, api: Api, issuer: Api, forward: ForwardProxy
) -> None:
    routes = {
        "local": {"prefix": "/local", "upstream": f"http://localhost:{api.port}", "credential": "far"},
        "far": {"prefix": "/far", "upstream": "http://api.test", "insecure": True, "credential": "local"},
        "own": {"prefix": "/own", "upstream": "http://api.test", "insecure": True, "no_proxy": "api.test"},
    }
    local = {**CLIENT, "token_url": issuer.url + "/token"}
    table = {"proxy": url(forward), "routes": routes, "credentials": {"far": CLIENT, "local": local}}
    house = House(await start(table))
    assert (await house.ask(HEAD.replace(b"/x", b"/local"))).status == 200
    assert [asked.target for asked in forward.asked] == ["http://token.test/token"]
    assert (await house.ask(HEAD.replace(b"/x", b"/far"))).status == 200
    assert [asked.target for asked in forward.asked[1:]] == ["http://api.test/"]
    refused = await house.ask(HEAD.replace(b"/x", b"/own"))
    assert (refused.status, refused.error) == (502, "dns_error")
    await house.aclose()


async def test_a_proxy_that_refuses_is_said_without_its_password(start: Start, forward: ForwardProxy) -> None:
    route = {"upstream": "http://api.test", "insecure": True, "credential": CLIENT, "retry": {"attempts": 1}}
    for scheme in ("http", "https"):
        inner = {**CLIENT, "token_url": f"{scheme}://token.test/token"}
        proxy = f"http://{USER}:wr0ng-s3cret@127.0.0.1:{forward.port}"
        house = House(await start({"proxy": proxy, "routes": {"api": {**route, "credential": inner}}}))
        refused = await house.ask()
        assert (refused.status, refused.error) == (503, "destination_unavailable")
        assert refused.problem["detail"] == "the token endpoint: the outgoing proxy answered 407"
        await house.aclose()


async def test_a_websocket_gets_a_tunnel_where_a_proxy_would_drop_its_upgrade(
    start: Start, api: Api, forward: ForwardProxy
) -> None:
    async def switch(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        await line.send(await line.exactly(len(FRAME)))

    api.script.append(switch)
    route = {"upstream": "http://api.test", "insecure": True, "proxy": url(forward)}
    house = House(await start({"routes": {"api": route}}))
    client = await house.connect()
    await client.send(HANDSHAKE)
    assert (await client.answer()).status == 101
    await client.send(FRAME)
    assert await client.exactly(len(FRAME)) == FRAME
    assert forward.asked == [Asked("CONNECT", "api.test:80", AUTHORIZATION)]
    assert (await house.ask()).status == 200
    assert forward.asked[1].method == "GET"
    await house.aclose()


# -- as a process, over TLS ------------------------------------------------------------------------------


@asynccontextmanager
async def by_tls(served: Api, leaf: trustme.LeafCert) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf.configure_cert(context)
    server = await asyncio.start_server(served._connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for line in served.lines:
            reset(line.writer)


@pytest.fixture
async def company(api: Api, issuer: Api, tmp_path: Path) -> AsyncIterator[ForwardProxy]:
    """A proxy before servers that speak TLS, and a certificate authority of their own."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("api.test", "token.test")
    async with by_tls(api, leaf) as api_port, by_tls(issuer, leaf) as issuer_port:
        names = {"api.test": api_port, "token.test": issuer_port}
        async with ForwardProxy(names, AUTHORIZATION) as made:
            yield made


def environment(proxy: ForwardProxy, tmp_path: Path) -> dict[str, str]:
    return {"PROXY_URL": url(proxy), "SSL_CERT_FILE": str(tmp_path / "ca.pem")}


def config(tmp_path: Path, top: str, credential: str) -> str:
    path = tmp_path / "countersign.toml"
    path.write_text(
        f'{top}\n[routes.api]\nupstream = "https://api.test"\ncredential = "c"\n[credentials.c]\n{credential}'
    )
    path.chmod(0o600)
    return str(path)


TLS_CLIENT = """
type          = "oauth2"
grant         = "client_credentials"
issuer        = "https://token.test"
client_id     = "c"
client_secret = "s3cret-of-the-client"
"""
DEVICE = TLS_CLIENT.replace("client_credentials", "device_code").replace(
    'issuer        = "https://token.test"',
    'token_url = "https://token.test/token"\ndevice_authorization_url = "https://token.test/device"',
)


@pytest.mark.parametrize(
    ("top", "variables"),
    [
        ("proxy = { env = 'PROXY_URL' }", {}),
        ("proxy = 'env'", {"HTTPS_PROXY": "{}"}),
        ("proxy = 'env'", {"all_proxy": "{}", "NO_PROXY": "other.test"}),
    ],
)
async def test_tokens_and_requests_by_tls(
    run: Run, api: Api, company: ForwardProxy, tmp_path: Path, top: str, variables: dict[str, str]
) -> None:
    given = {name: value.format(url(company)) for name, value in variables.items()}
    path = config(tmp_path, top, TLS_CLIENT + f'tls = {{ ca = "{tmp_path}/ca.pem" }}')
    env = {**environment(company, tmp_path), **given, "COUNTERSIGN_SERVER__LISTEN": "127.0.0.1:0"}
    process = await run("run", "--config", path, env=env)
    assert (await process.ask()).status == 200
    assert api.messages[0].get("Authorization") == f"Bearer {TOKEN}".encode()
    assert {asked.target for asked in company.asked} == {"token.test:443", "api.test:443"}
    assert {(asked.method, asked.authorization) for asked in company.asked} == {("CONNECT", AUTHORIZATION)}
    await process.aclose()
    assert PASSWORD not in process.said


async def test_http2_goes_through_a_tunnel(start: Start, issuer: Api, tmp_path: Path) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await body_of(receive)
        fields = dict(scope["headers"])
        await http2_answer(send, 200, scope["http_version"].encode() + fields[b"authorization"])

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with (
        http2_server(application, tmp_path, authority.issue_cert("api.test")) as port,
        ForwardProxy({"api.test": port, "token.test": issuer.port}, AUTHORIZATION) as forward,
    ):
        tls = {"ca": str(tmp_path / "ca.pem")}
        route = {"upstream": "https://api.test", "tls": tls, "http2": True, "credential": CLIENT}
        house = House(await start({"proxy": url(forward), "routes": {"api": route}}))
        assert (await house.ask()).body == b"2Bearer " + TOKEN.encode()
        assert [asked.target for asked in forward.asked] == ["http://token.test/token", "api.test:443"]
        await house.aclose()
        await house.proxy.app.aclose()


async def test_google_s_tokens(run: Run, api: Api, company: ForwardProxy, tmp_path: Path) -> None:
    key = Path(key_file(tmp_path)["file"]).read_text()
    account = {"client_email": "robot@x.test", "private_key": key, "token_uri": "https://token.test/token"}
    (tmp_path / "account.json").write_text(json.dumps(account))
    keys = 'type = "google_service_account"\nscope = "x"\nkey_file = "account.json"\nproxy = { env = "PROXY_URL" }'
    env = {**environment(company, tmp_path), "COUNTERSIGN_SERVER__LISTEN": "127.0.0.1:0"}
    process = await run("run", "--config", config(tmp_path, "proxy = { env = 'PROXY_URL' }", keys), env=env)
    assert (await process.ask()).status == 200
    assert api.messages[0].get("Authorization") == f"Bearer {TOKEN}".encode()
    assert company.hosts == {"api.test", "token.test"}


async def test_commands_use_and_name_it(run: Run, company: ForwardProxy, tmp_path: Path) -> None:
    env = environment(company, tmp_path)
    path = config(tmp_path, "proxy = { env = 'PROXY_URL' }", TLS_CLIENT)
    shown = f"http://***@localhost:{company.port}"
    live = await run("check", "--live", "--config", path, env=env)
    assert await live.ends() == 0, live.said
    assert shown in live.out
    assert company.hosts == {"api.test", "token.test"}
    explained = await run("explain", "GET", "/x", "--config", path, env=env)
    assert await explained.ends() == 0
    assert f"outgoing proxy: {shown}" in explained.out
    company.asked.clear()
    renewed = await run("tokens", "refresh", "--config", path, env=env)
    assert await renewed.ends() == 0, renewed.said
    assert company.hosts == {"token.test"}
    company.asked.clear()
    login = await run("login", "c", "--config", config(tmp_path, "proxy = { env = 'PROXY_URL' }", DEVICE), env=env)
    assert await login.ends() == 0, login.said
    assert company.hosts == {"token.test"}
