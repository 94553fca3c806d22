"""A real browser as the neighbour: what a page of another origin can't do, and what an allowed one can."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from tests.chromium import PROGRAM, Page, browser, tab
from tests.conftest import Start
from tests.journeys.conftest import TOKEN, Build
from tests.journeys.wires import Api, Line, Message

pytestmark = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ, reason="no chromium here; Debian's package is chromium"
)

SITE = b"<!doctype html><meta charset=utf-8><title>a page</title><body>"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browser(tmp_path_factory.mktemp("profile")) as at:
        yield at


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with tab(chromium) as made:
        yield made


def html(body: bytes, *fields: bytes) -> bytes:
    head = [b"HTTP/1.1 200 OK", b"Content-Type: text/html", b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


@pytest.fixture
async def site() -> AsyncIterator[Api]:
    """A web site, whatever it is called: all of its pages are empty."""
    async with Api() as made:
        made.always = html(SITE)
        yield made


ATTEMPTS = Path(__file__).with_name("attempts.js").read_text()
ALLOWED = Path(__file__).with_name("allowed.js").read_text()


def attempts(at: str, patience: int = 300) -> str:
    """Body of a function that tries everything; `patience` in milliseconds for what tells of no failure."""
    return f"const at = '{at}', patience = {patience}; {ATTEMPTS}"


SENDABLE = """
    fetch opaque opaque-post plain hidden beacon events socket module xhr window ping prefetch background
    img script iframe video embed object link form
"""


def path(message: Message) -> str:
    return message.target.strip(b"/").partition(b"?")[0].decode()


async def test_the_attempts_reach_who_is_not_guarded(page: Page, site: Api) -> None:
    async with Api() as open_to_all:
        await page.open(f"http://evil.example:{site.port}/")
        await page.run(attempts(open_to_all.url, patience=1000))
        sendable = set(SENDABLE.split())
        async with asyncio.timeout(10):
            while missing := sendable - {path(message) for message in open_to_all.messages}:
                await asyncio.sleep(0.02)
    assert not missing
    assert {message.method for message in open_to_all.messages} >= {b"GET", b"POST", b"OPTIONS"}


# Whose page it is, and by which name it calls: of other sites, and of other ports of this one. Browsers don't
# say whose page it is by the last two names of the first row, which are 127.0.0.1 all the same, or may be.
CALLS = [
    ("evil.example", ("localhost", "[::ffff:127.0.0.1]", "localhost4")),
    ("app.localhost", ("localhost",)),
    ("127.0.0.1", ("127.0.0.1",)),
]


async def test_a_page_of_another_origin_reaches_nothing(build: Build, page: Page, site: Api) -> None:
    house = await build()
    for name, hosts in CALLS:
        await page.open(f"http://{name}:{site.port}/")
        for host in hosts:
            assert await page.run(attempts(f"http://{host}:{house.proxy.port}")) == {}, (name, host)
            assert house.api.heard == b"", (name, host)


@pytest.mark.parametrize("host", ["localhost", "[::ffff:127.0.0.1]"])
async def test_nor_does_its_link(build: Build, page: Page, site: Api, host: str) -> None:
    house = await build()
    await page.open(f"http://evil.example:{site.port}/")
    at = f"http://{host}:{house.proxy.port}"
    await page.run(f"location = '{at}/by-link'")
    async with asyncio.timeout(10):
        while '"status": 403' not in house.proxy.lines:
            await asyncio.sleep(0.02)
    # A browser asks for the icon of what it shows, and says then that it is the proxy's own page that does.
    await asyncio.sleep(0.2)
    assert house.api.heard == b""


async def rebind(page: Page, url: str) -> None:
    """Have a page of the proxy's address by another name, without what its refusal forbids: it could be anybody's."""
    await page.call("Page.setBypassCSP", enabled=True)
    await page.open(url)


async def test_a_name_that_is_bound_anew_reaches_nothing(build: Build, page: Page) -> None:
    """DNS rebinding: the page's own origin becomes the proxy's address."""
    house = await build()
    await rebind(page, f"http://rebound.example:{house.proxy.port}/page")
    status = "const a = await fetch('/x', {headers: {'X-A': 'b'}}); return a.status"
    assert await page.run(status) == 421
    assert house.api.heard == b""


OWN = html(SITE + b"<script>document.title = 'ran'</script><script src=/own.js></script><img src=/own.png>")


async def test_who_types_the_address_is_asked_first(build: Build, page: Page) -> None:
    house = await build(OWN)
    await page.open(f"http://localhost:{house.proxy.port}/page?a=1")
    assert "GET /page?a=1" in await page.run("return document.body.innerText")
    assert house.api.heard == b""
    assert page.told == []
    await page.run("document.querySelector('a').click()")
    await house.api.came(lambda: house.api.messages)
    [message] = house.api.messages
    assert (message.target, message.get("Sec-Fetch-Site")) == (b"/page?a=1", b"same-origin")
    assert message.get("Authorization") == f"Bearer {TOKEN}".encode()
    # What the API serves is nobody's page: it runs nothing, and reaches nothing here.
    await asyncio.sleep(0.2)
    assert await page.run("return document.title") == "a page"
    assert await page.run("return await fetch('/own').then(() => 'read', () => 'unread')") == "unread"
    assert len(house.api.messages) == 1


@pytest.mark.parametrize("kind", ["text/html x", "text/plain, text/html", "text/xsl"])
async def test_no_spelling_of_a_type_makes_a_document_the_proxys_own(build: Build, page: Page, kind: str) -> None:
    body = b'<html xmlns="http://www.w3.org/1999/xhtml"><body>own<script>document.title = "ran"</script></body></html>'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    house = await build(head.encode() + body)
    await open_confirmed(house.proxy.port, page, "own")
    assert await page.run("return [document.title, self.origin]") == ["", "null"]


async def test_a_text_refreshes_to_no_other_request(build: Build, page: Page) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nRefresh: 0;url=/other\r\nContent-Length: 3\r\n\r\nown"
    house = await build(head)
    await page.open(f"http://localhost:{house.proxy.port}/page")
    await page.run("document.querySelector('a').click()")
    async with asyncio.timeout(10):
        while '"status": 403' not in house.proxy.lines:
            await asyncio.sleep(0.02)
    assert [message.target for message in house.api.messages] == [b"/page"]


async def open_confirmed(port: int, page: Page, text: str) -> None:
    """Open a page of the proxy, click the link of the first page, and wait for the API's."""
    await page.open(f"http://localhost:{port}/page")
    await page.run("document.querySelector('a').click()")
    async with asyncio.timeout(10):
        while await page.run("return document.body?.innerText ?? document.documentElement?.textContent") != text:
            await asyncio.sleep(0.02)


async def test_a_redirect_of_a_site_that_the_user_opened_reaches_nothing(build: Build, page: Page, site: Api) -> None:
    house = await build()
    at = f"http://localhost:{house.proxy.port}/bank/transfer"
    for status in (b"302 Found", b"307 Temporary Redirect"):
        site.script.append(b"HTTP/1.1 %b\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, at.encode()))
        await page.open(f"http://evil.example:{site.port}/")
        assert "GET /bank/transfer" in await page.run("return document.body.innerText")
    assert house.api.heard == b""


async def test_an_issuer_named_in_a_certificate_reaches_nothing(build: Build, page: Page) -> None:
    """Chromium's verifier fetches what a certificate names as its issuer's (RFC 5280, section 4.2.2.1)."""
    house = await build()
    async with Api() as open_to_all:
        for at in (open_to_all.url, house.proxy.url):
            async with tls_site(f"{at}/hook/deploy?go=1") as port:
                await page.open(f"https://evil.example:{port}/")
        await open_to_all.came(lambda: open_to_all.messages)
    assert open_to_all.messages[0].get("Sec-Fetch-Mode") == b"no-cors"
    async with asyncio.timeout(10):
        while '"status": 403' not in house.proxy.lines:
            await asyncio.sleep(0.02)
    assert house.api.heard == b""


@asynccontextmanager
async def tls_site(issuers: str) -> AsyncIterator[int]:
    """A server whose certificate names where its issuer's is."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil.example")])
    access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(issuers))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "not found here")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("evil.example")]), critical=False)
        .add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)

    async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_who_types_the_address_of_a_route_for_browsers_is_served(build: Build, page: Page) -> None:
    house = await build(OWN, browser=True)
    await page.open(f"http://localhost:{house.proxy.port}/")
    answer = "const a = await fetch('/own', {method: 'PUT', headers: {'X-A': 'b'}, body: '1'}); return await a.text()"
    assert await page.run(answer) == "ok"
    assert {b"/", b"/own.js", b"/own.png", b"/own"} <= {message.target for message in house.api.messages}
    assert {message.get("Authorization") for message in house.api.messages} == {f"Bearer {TOKEN}".encode()}


async def test_pages_of_one_routes_api_are_strangers_to_a_route_with_another_host(
    start: Start, page: Page, site: Api, api: Api
) -> None:
    routes = {
        name: {"host": f"{name}.localhost", "upstream": to.url, "browser": True}
        for name, to in (("wiki", site), ("other", api))
    }
    port = (await start({"routes": routes})).port
    await page.open(f"http://wiki.localhost:{port}/")
    assert await page.run(attempts(f"http://other.localhost:{port}")) == {}
    assert api.heard == b""


async def test_a_page_of_an_allowed_origin_works(build: Build, page: Page, site: Api) -> None:
    origin = f"http://app.example:{site.port}"
    house = await build(server={"allowed_origins": [origin]})
    house.api.always = _speaking
    await page.open(origin)
    seen = await page.run(f"const at = 'http://localhost:{house.proxy.port}'; {ALLOWED}")
    assert seen == [200, "ok", "seen", 404, "an event", "hello"]
    assert {message.get("Authorization") for message in house.api.messages} == {f"Bearer {TOKEN}".encode()}
    assert b"OPTIONS" not in {message.method for message in house.api.messages}


async def _speaking(message: Message, line: Line) -> None:
    match message.target:
        case b"/missing":
            await line.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        case b"/events":
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: an event\n\n")
            await line.rest()
        case b"/socket":
            await line.send(_accepted(message) + b"\x81\x05hello")
            await line.rest()
        case _:
            await line.send(b"HTTP/1.1 200 OK\r\nX-Of-Api: seen\r\nContent-Length: 2\r\n\r\nok")


def _accepted(message: Message) -> bytes:
    key = message.get("Sec-WebSocket-Key") or b""
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept + b"\r\n\r\n"
    )  # fmt: skip


STATUS = {"server": {"admin": "127.0.0.1:0"}, "routes": {"api": {"prefix": "/", "upstream": "http://127.0.0.1:9"}}}


async def test_the_status_page_is_nobody_elses(start: Start, page: Page, site: Api) -> None:
    running = await start(STATUS)
    assert running.app.status_url
    await page.open(f"http://evil.example:{site.port}/")
    assert await page.run(attempts(running.admin_url)) == {}
    # Not even to a page that has got hold of the token.
    token = running.app.status_url.partition("?")[2]
    read = f"return await fetch('{running.admin_url}/?{token}').then(answer => answer.text(), () => 'unread')"
    assert await page.run(read) == "unread"
    await rebind(page, f"{running.admin_url.replace('127.0.0.1', 'rebound.example')}/metrics")
    assert await page.run("return (await fetch('/metrics')).status") == 421


async def test_the_status_page_works_within_its_own_policy(start: Start, page: Page) -> None:
    running = await start(STATUS)
    assert running.app.status_url
    await page.open(running.app.status_url)
    assert "http://127.0.0.1:9" in await page.run("return document.body.innerText")
    assert page.told == []
