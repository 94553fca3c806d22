"""Tokens of callers, of the proxy and of its admin listener: any bytes are just wrong, and nothing repeats them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest

from tests.conftest import Running, Start
from tests.journeys.conftest import Build, House
from tests.journeys.test_raw_requests import FRAMINGS, LINES, get
from tests.journeys.wires import Line, Message

RIGHT = b"l3t-m3-in"
MADE_UP = b"m4de-up"  # is seen by nobody
VALUES = [
    b"", b" ", MADE_UP, MADE_UP * 4000, RIGHT[:-1] + MADE_UP, RIGHT + b"\xe4" + MADE_UP, b"\xff\xfe\x80" + MADE_UP,
    MADE_UP.decode().encode("utf-16-le").replace(b"\x00", b"\xc0\x80"), b"\xed\xa0\x80" + MADE_UP, b"%00" + MADE_UP,
    b"Bearer " + MADE_UP, b"Bearer " + RIGHT + b" " + MADE_UP, b"Bearer " + RIGHT + b", Bearer " + MADE_UP,
    b"Bearer\t" + RIGHT, b"Bearer", b"Bearer " * 1000, b"Basic", b"Basic =", b"Basic " + MADE_UP + b"!",
    b"Basic " + MADE_UP + b"\xff", b"Basic YQ", b"Basic " + b"A" * 20001, b"Basic " + b64encode(MADE_UP),
    b"Basic " + b64encode(b"u:" + MADE_UP + b"\x00\xff\n" + RIGHT), b"Basic " + b64encode(b":" * 1000),
    b"Basic " + b64encode(b"u:" + RIGHT) + b" " + MADE_UP, b"Digest " + RIGHT, b'Bearer "' + RIGHT + b'"',
    RIGHT.upper(),
]  # fmt: skip
MALFORMED = [MADE_UP + b"\x00" + RIGHT, RIGHT + b"\x00", b"Bearer \x01" + MADE_UP, RIGHT + b"\rX: " + MADE_UP]


@pytest.fixture
async def house(build: Build) -> House:
    return await build(server={"client_token": RIGHT.decode()})


def quiet(house: House, answer: bytes) -> None:
    """Nothing has gone on, and nothing repeats what was given."""
    assert house.api.heard == b""
    for text in (answer, house.proxy.lines.encode()):
        assert MADE_UP not in text
        assert RIGHT not in text


@pytest.mark.parametrize("name", [b"X-Countersign-Token", b"Proxy-Authorization"])
async def test_any_bytes_are_407(house: House, name: bytes) -> None:
    for value in VALUES:
        answer = await house.ask(get(b"/x", b"localhost", name + b": " + value))
        assert (answer.status, answer.error) == (407, "http_request_denied"), value
        assert len(answer.all("Proxy-Authenticate")) == 2
        quiet(house, answer.raw + answer.body)


async def test_they_are_407_however_often_they_come(house: House) -> None:
    lines = [b"%s: %s" % (name, MADE_UP) for name in (b"X-Countersign-Token", b"Proxy-Authorization")] * 60
    answer = await house.ask(get(b"/x", b"localhost", *lines))
    assert answer.status == 407
    quiet(house, answer.raw + answer.body)


@pytest.mark.parametrize("value", MALFORMED)
async def test_what_no_field_may_hold_is_400(house: House, value: bytes) -> None:
    answer = await house.ask(get(b"/x", b"localhost", b"X-Countersign-Token: " + value))
    assert answer.status == 400
    quiet(house, answer.raw + answer.body)


async def test_one_that_is_too_long_is_431(house: House) -> None:
    answer = await house.ask(get(b"/x", b"localhost", b"X-Countersign-Token: " + MADE_UP * 5000))
    assert answer.status == 431
    quiet(house, answer.raw + answer.body)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 407),
        ((b"X-Countersign-Token: " + RIGHT, b"Origin: http://evil.example"), 403),
        ((b"X-Countersign-Token: " + RIGHT, b"Sec-Fetch-Site: cross-site", b"Content-Type: text/plain"), 403),
    ],
)
@pytest.mark.parametrize("size", [0, 1 << 20])
async def test_what_a_refused_body_says_is_no_request(
    house: House, lines: tuple[bytes, ...], status: int, size: int
) -> None:
    """As a form of a page could send it, to speak for itself."""
    body = b"x" * size + get(b"/inner", b"localhost", b"X-Countersign-Token: " + RIGHT)
    request = get(b"/x", b"localhost", b"Content-Length: %d" % len(body), *lines).replace(b"GET", b"POST", 1)
    client = await house.connect()
    await client.send(request + body)
    assert (await client.answer()).status == status
    await client.send(get(b"/next", b"localhost"))
    assert (await client.answer()).status == 407
    assert house.api.heard == b""


# -- the admin listener ----------------------------------------------------------------------------------


class AdminListener:
    """That of a proxy."""

    def __init__(self, proxy: Running) -> None:
        self.proxy = proxy
        self.port = int(proxy.admin_url.rstrip("/").rpartition(":")[2])

    async def connect(self) -> Line:

        return Line(*await asyncio.open_connection("127.0.0.1", self.port))

    async def ask(self, request: bytes) -> Message:
        line = await self.connect()
        await line.send(request)
        answer = await line.answer()
        line.reset()
        return answer


@pytest.fixture
async def admin(start: Start) -> AdminListener:
    server = {"admin": "127.0.0.1:0", "admin_token": RIGHT.decode()}
    return AdminListener(await start({"server": server, "routes": {"api": {"upstream": "http://127.0.0.1:9"}}}))


QUERIES = [
    b"token", b"token=", b"TOKEN=" + RIGHT, b"token=%00" + RIGHT, b"token=" + RIGHT + b"%00", b"token=%ff%fe" + MADE_UP,
    b"token=%ed%a0%80", b"token=%" + MADE_UP, b"token=" + MADE_UP * 4000, b"token=x&" * 3000, b"&" * 20000,
    b"=" * 20000,
    b"token=x;token=" + RIGHT, b"a?token=" + RIGHT, b"token=+" + RIGHT, b"%74oken=" + MADE_UP, b"token[]=" + RIGHT,
]  # fmt: skip


async def test_any_bytes_are_401_on_the_admin_listener(admin: AdminListener) -> None:
    requests = [get(b"/?" + query) for query in [*QUERIES, *(b"token=" + quote_from_bytes(v).encode() for v in VALUES)]]
    requests += [get(b"/", b"localhost", b"Authorization: " + value) for value in VALUES]
    requests += [get(b"/", b"localhost", b"Cookie: token=" + RIGHT), get(b"/", b"localhost", b"Token: " + RIGHT)]
    for request in requests:
        answer = await admin.ask(request)
        assert (answer.status, answer.error) == (401, "http_request_denied"), request[:200]
        assert MADE_UP not in answer.raw + answer.body
    assert admin.proxy.lines == ""
    assert (await admin.ask(get(b"/?token=" + RIGHT))).status == 200


@pytest.mark.parametrize("table", [FRAMINGS, LINES], ids=["framings", "lines"])
async def test_what_is_malformed_is_400_on_the_admin_listener(admin: AdminListener, table: dict[str, bytes]) -> None:
    for name, request in table.items():
        line = await admin.connect()
        await line.send(request)
        answer = await line.rest()
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 ")), (name, answer)
        assert answer.count(b"HTTP/1.1 ") == 1
        line.reset()
    assert (await admin.ask(get(b"/healthz"))).status == 200


async def test_posts_have_no_effect(admin: AdminListener) -> None:
    for path in (b"/", b"/api/status", b"/healthz", b"/metrics", b"/api/reload", b"/-/reload", b"/api/tokens"):
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH"):
            request = get(path + b"?token=" + RIGHT, b"localhost", b"Content-Length: 2").replace(b"GET", method)
            assert (await admin.ask(request + b"{}")).status in (404, 405)


# -- and it can't be reached by the proxy's own port -----------------------------------------------------


@pytest.mark.parametrize("path", [b"/healthz", b"/metrics", b"/api/status", b"/"])
async def test_the_proxys_port_does_not_lead_to_the_admin_listener(build: Build, path: bytes) -> None:
    house = await build(server={"admin": "127.0.0.1:0", "admin_token": RIGHT.decode()})
    port = int(house.proxy.admin_url.rstrip("/").rpartition(":")[2])
    for name in (b"127.0.0.1", b"localhost", b"admin", b"[::ffff:127.0.0.1]"):
        host = b"%s:%d" % (name, port)
        absolute = await house.ask(get(b"http://" + host + path, host))
        assert (absolute.status, absolute.error) == (404, "destination_not_found")
        seen = await house.ask(get(path, host))
        assert (seen.status, seen.body) == (200, b"ok")  # the API's own
    assert {message.target for message in house.api.messages} == {path}


async def test_a_client_token_s_command_that_fails_is_not_started_for_each_request(
    build: Build, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    script = f"echo x >> {runs}; sleep 0.05; exit 3"
    house = await build(server={"client_token": {"command": ["sh", "-c", script]}})
    together = await asyncio.gather(*(house.ask(get(b"/x")) for _ in range(50)))
    later = [await house.ask(get(b"/x")) for _ in range(50)]
    assert {answer.status for answer in [*together, *later]} == {502}
    assert b"the client token can't be had: the command sh failed with exit code 3" in later[-1].body
    assert 1 <= len(runs.read_text().split()) <= 5
    assert house.api.heard == b""
