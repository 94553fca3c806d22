"""Bodies too large to be kept, which are poured past the parser, on both event loops."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from random import Random

import pytest
import trustme

from tests.conftest import Start
from tests.journeys.conftest import BEARER, Build, House
from tests.journeys.wires import HEAD, Api, Line, Message, Step, answer, early

SIZE = 5 << 20
BODY = Random(1).randbytes(SIZE)
KEPT = {"replay_memory": "64KiB", "replay_disk": 0}
PUT = b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % SIZE


def refusing(after: int) -> Step:
    async def step(_: Message, line: Line) -> None:
        await line.exactly(after)
        await line.send(answer(413, b"enough", "Connection: close"))

    return early(step)


async def test_all_of_it_arrives_and_the_next_request_is_another(build: Build) -> None:
    house = await build(limits=KEPT)
    client = await house.connect()
    await client.send(PUT + BODY + HEAD)
    assert (await client.answer()).status == 200
    assert (await client.answer()).status == 200
    first, second = house.api.messages
    assert first.body == BODY
    assert (second.method, second.body) == (b"GET", b"")
    assert len(house.api.lines) == 1


@pytest.mark.parametrize("seed", range(4))
async def test_however_it_comes(build: Build, seed: int) -> None:
    house, random = await build(limits=KEPT), Random(seed)
    client = await house.connect()
    sent = PUT + BODY + PUT + BODY + HEAD

    async def send() -> None:
        at = 0
        while at < len(sent):
            size = round((1 << 21) ** random.random())
            await client.send(sent[at : at + size])
            at += size
            await asyncio.sleep(0)

    sending = asyncio.ensure_future(send())
    assert [(await client.answer()).status for _ in range(3)] == [200] * 3
    await sending
    assert [message.body for message in house.api.messages] == [BODY, BODY, b""]


async def test_over_tls(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    async with Api() as api:
        server = await asyncio.start_server(api._connected, "127.0.0.1", 0, ssl=context)
        route = {
            "prefix": "/", "upstream": f"https://localhost:{server.sockets[0].getsockname()[1]}",
            "tls": {"ca": str(tmp_path / "ca.pem")}, "limits": KEPT, "credential": BEARER,
        }  # fmt: skip
        house = House(await start({"routes": {"api": route}}))
        client = await house.connect()
        await client.send(PUT + BODY + HEAD)
        assert [(await client.answer()).status for _ in range(2)] == [200] * 2
        assert api.messages[0].body == BODY
        await house.aclose()
        server.close()
        for line in api.lines:
            line.close()
        api.lines.clear()  # asyncio's TLS transports can't be asked for their socket afterwards


async def test_a_body_that_is_kept_is_sent_again(build: Build) -> None:
    house = await build(answer(503), answer(200), retry={"backoff": "1ms"})
    client = await house.connect()
    await client.send(PUT + BODY + HEAD)
    assert [(await client.answer()).status for _ in range(2)] == [200] * 2
    assert [message.body for message in house.api.messages] == [BODY, BODY, b""]


async def test_who_refuses_it_early_is_heard(build: Build) -> None:
    house = await build(refusing(2 << 20), limits=KEPT)
    client = await house.connect()
    sending = asyncio.ensure_future(client.send(PUT + BODY + HEAD))
    assert (await client.answer()).status == 413
    assert (await client.answer()).status == 200
    await sending


async def test_a_client_that_stops_is_told_so_and_the_api_sees_no_end(build: Build) -> None:
    house = await build(server={"body_timeout": 0.3}, limits=KEPT)
    client = await house.connect()
    await client.send(PUT + BODY[:-1])
    assert (await client.answer()).status == 408
    await house.api.came(lambda: house.api.lines)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await house.api.lines[0].exactly(1 << 30)
    assert house.api.messages == []


async def test_a_client_that_goes_away_takes_the_request_along(build: Build) -> None:
    house = await build(limits=KEPT)
    client = await house.connect()
    await client.send(PUT + BODY[:-1])
    await house.api.came(lambda: house.api.lines)
    client.reset()
    await house.api.came(lambda: house.proxy.app.busy == 0)
    assert house.api.messages == []


async def test_an_api_that_does_not_read_is_given_up(lead: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as api:  # the kernel takes what has room
        house = await lead(upstream=f"http://127.0.0.1:{api.getsockname()[1]}", timeout={"read": 0.3}, limits=KEPT)
        client = await house.connect()
        sending = asyncio.ensure_future(client.send(PUT.replace(b"\r\n\r\n", b"0\r\n\r\n"), BODY * 10))
        assert (await client.answer()).status == 504
        client.reset()
        await asyncio.wait([sending])


async def test_behind_one_that_failed_the_next_is_answered(build: Build) -> None:
    async def broken(_: Message, line: Line) -> None:
        await line.exactly(2 << 20)
        line.reset()

    house = await build(early(broken), limits=KEPT)
    client = await house.connect()
    sending = asyncio.ensure_future(client.send(PUT + BODY + HEAD))
    assert (await client.answer()).status == 502
    assert (await client.answer()).status == 200
    await sending
