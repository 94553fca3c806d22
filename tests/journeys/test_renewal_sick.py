"""Token endpoints that are ill in every way: told as the table of errors has it, in time, in little memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy.cli.check import checked
from proxy.tokens import endpoint
from tests.conftest import Start
from tests.doubles import HurriedClock
from tests.journeys.conftest import House
from tests.journeys.wires import OK, Api, Line, Message, Step, answer, closing

CANARY = "canary-e5f1"
TIMEOUT = 0.5  # seconds, in place of 10
HTML = f"<html><title>{CANARY}</title></html>".encode()


def says(status: int, **fields: object) -> bytes:
    return answer(status, json.dumps({"note": CANARY, **fields}).encode(), "Content-Type: application/json")


async def hangs(_: Message, line: Line) -> None:
    await line.rest()


async def hangs_in_its_head(_: Message, line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\nContent-")
    await line.rest()


async def drips(_: Message, line: Line) -> None:
    """A byte now and then, which no timeout between two of them would notice."""
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await line.send(b" ")
        await asyncio.sleep(0.02)


async def pours(_: Message, line: Line) -> None:
    """10 GB, if somebody takes them."""
    await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    for _chunk in range(10_000):
        await line.send(CANARY.encode() * 90_000)


async def pours_a_head(_: Message, line: Line) -> None:
    await line.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        await line.send(b"X-%d: " % number + b"a" * 10_000 + b"\r\n")


BOMB = answer(200, gzip.compress(b" " * 200_000_000, 1), "Content-Encoding: gzip")  # would be 200 MB
DOWN, WRONG = (503, "destination_unavailable"), (502, "proxy_configuration_error")
SICK: dict[str, tuple[Step, tuple[int, str]]] = {
    "hangs": (hangs, DOWN),
    "hangs in its head": (hangs_in_its_head, DOWN),
    "drips": (drips, DOWN),
    "closes": (closing(), DOWN),
    "breaks off": (closing(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{" + CANARY.encode()), DOWN),
    "is no HTTP": (closing(b"SSH-2.0-" + CANARY.encode() + b"\r\n"), DOWN),
    "pours a head": (pours_a_head, DOWN),
    "500": (answer(500, HTML), DOWN),
    "503": (answer(503, HTML, "Retry-After: 7"), DOWN),
    "500 with a token": (says(500, access_token=CANARY), DOWN),
    "429": (says(429, error="slow_down"), DOWN),
    "says it is down": (says(400, error="temporarily_unavailable"), DOWN),
    "pours": (pours, WRONG),
    "a gzip bomb": (BOMB, WRONG),
    "a redirect": (answer(302, HTML, f"Location: http://127.0.0.1:1/?{CANARY}"), WRONG),
    "a page": (answer(200, HTML, "Content-Type: text/html"), WRONG),
    "nothing": (answer(200), WRONG),
    "no content": (answer(204), WRONG),
    "an error in 200": (says(200, error="invalid_grant", error_description=CANARY, access_token=CANARY), WRONG),
    "an error of its own": (says(400, error="own", error_description="\x1b[2Jnot s3cret-of-mine\r\nX: y"), WRONG),
    "a secret as the error": (says(400, error={"code": "s3cret-of-mine", "message": "s3cret-of-mine"}), WRONG),
    "a secret in its outage": (says(503, error="s3cret-of-mine", error_description="for 's3cret-of-mine'"), DOWN),
    "invalid_client": (says(401, error="invalid_client"), WRONG),
    "an empty token": (says(200, access_token=""), WRONG),
    "no token": (says(200), WRONG),
    "control characters": (says(200, access_token=f"a\r\nX: {CANARY}"), WRONG),
    "a number": (says(200, access_token=5), WRONG),
    "another type": (says(200, access_token=CANARY, token_type="mac"), WRONG),
    "deep": (answer(200, b"[" * 500_000), WRONG),
}  # fmt: skip


@pytest.fixture
async def issuer() -> AsyncIterator[Api]:
    async with Api() as made:
        yield made


@pytest.fixture
async def house(start: Start, issuer: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A proxy with a route whose token endpoint is ill, and one that has nothing to do with it."""
    defaults = endpoint.Endpoint.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "timeout", TIMEOUT)
    oauth2 = {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"{issuer.url}/token",
        "client_id": "me", "client_secret": "s3cret-of-mine",
    }  # fmt: skip
    async with Api() as api:
        routes = {
            "ill": {"prefix": "/ill", "upstream": api.url, "credential": oauth2},
            "well": {"prefix": "/well", "upstream": api.url},
        }
        made = House(await start({"routes": routes}, clock=HurriedClock()))
        yield made
        assert all(b"Bearer" not in message.raw for message in api.messages)
        await made.aclose()


def get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("sickness", "told"), SICK.values(), ids=SICK)
async def test_it_is_told_as_what_it_is_in_time_and_in_little_memory(
    house: House, issuer: Api, sickness: Step, told: tuple[int, str]
) -> None:
    issuer.always = sickness
    tracemalloc.start()
    try:
        began = time.monotonic()
        asking = asyncio.create_task(house.ask(get(b"/ill")))
        healthy = await house.ask(get(b"/well"))
        assert healthy.status == 200
        seen = await asking
        assert time.monotonic() - began < 4 * TIMEOUT + 2
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (seen.status, seen.error) == told
    assert (seen.get("Retry-After") is not None) == (told == DOWN)
    assert peak < 24 << 20
    for _ in range(20):
        again = await house.ask(get(b"/ill"))
        assert again.status == told[0]
    assert len(issuer.messages) <= 3, "it is left alone"
    for text in (seen.raw, seen.body, house.proxy.lines.encode()):
        assert CANARY.encode() not in text
        assert b"s3cret" not in text


async def test_what_it_said_is_shown_wherever_users_look(start: Start, issuer: Api) -> None:
    issuer.always = says(400, error="invalid_scope", error_description="Only 'read',\nnot s3cret-of-mine.")
    oauth2 = {
        "type": "oauth2", "grant": "client_credentials", "token_url": f"{issuer.url}/token",
        "client_id": "me", "client_secret": "s3cret-of-mine",
    }  # fmt: skip
    table = {"routes": {"ill": {"upstream": issuer.url, "credential": oauth2}}, "server": {"admin": "127.0.0.1:0"}}
    running = await start(table)
    said = "the token endpoint refused: invalid_scope (Only 'read', not ***.)"
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(running.url)
        assert (response.status_code, response.json()["detail"]) == (502, said)
        assert f'details="{said}"' in response.headers["proxy-status"]
        ready = (await client.get(f"{running.admin_url}/readyz")).json()
    assert ready["routes"]["ill"]["problem"] == said
    assert ready["tokens"]["routes.ill"]["problem"] == said
    assert f"credential routes.ill: {said}; nobody is asked again" in running.lines
    (row,) = await checked(running.app.settings, live=True)
    assert (row.ok, row.result) == (False, f"credential: {said}")


async def test_one_that_is_not_there_is_down(house: House, issuer: Api) -> None:
    await issuer.__aexit__(None, None, None)
    for _ in range(20):
        seen = await house.ask(get(b"/ill"))
        assert (seen.status, seen.error) == DOWN
    assert OK.endswith((await house.ask(get(b"/well"))).body)
