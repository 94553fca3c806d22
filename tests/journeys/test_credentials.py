"""Credentials with ways of their own, over sockets: sessions, turns, programs, and what means that a token is dead."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.doubles import FakeClock
from tests.journeys.conftest import HEAD, Build
from tests.journeys.wires import OK, Api, Line, Message, Step, answer, chunked

EXPIRED = b'{"error": "token_expired"}'


def counting(folder: Path) -> dict[str, Any]:
    """A program that prints t1, t2 and so on, after a while."""
    script = f'echo >> {folder}/runs; sleep 0.1; echo "t$(wc -l < {folder}/runs | tr -d " ")"'
    return {"type": "exec", "command": ["sh", "-c", script]}


def bearer(message: Message) -> str:
    return (message.get("Authorization") or b"").decode().removeprefix("Bearer ")


# -- what means that a token is dead ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dead",
    [
        answer(403, EXPIRED),
        answer(401, gzip.compress(EXPIRED, mtime=0), "Content-Encoding: gzip"),
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(EXPIRED[:9], EXPIRED[9:]),
        b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n" + EXPIRED,
    ],
)
async def test_a_body_that_says_it_leads_to_a_renewal(build: Build, tmp_path: Path, dead: bytes) -> None:
    credential = {**counting(tmp_path), "unauthorized": {"status": [401, 403], "body": "token_expired"}}

    async def says(_: Message, line: Line) -> None:
        await line.send(dead)
        if b"Connection: close" in dead:
            line.close()

    house = await build(says, credential=credential)
    seen = await house.ask()
    assert (seen.status, seen.told) == (200, b'countersign; details="renewed token"')
    assert [bearer(message) for message in house.api.messages] == ["t1", "t2"]


async def test_one_that_does_not_is_handed_on_byte_for_byte_while_it_comes(build: Build, tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slow(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await go_on.wait()
        await line.send(chunked(b"b" * 200_000))

    credential = {**counting(tmp_path), "unauthorized": {"status": [403], "body": "token_expired"}}
    house = await build(slow, credential=credential)
    client = await house.connect()
    await client.send(HEAD)
    await client.until(b"\r\n\r\n")
    assert await client.until(b"a\r\n") == b"1\r\na\r\n", "though more is not there yet"
    go_on.set()
    assert await client.chunks() == b"b" * 200_000
    assert len(house.api.messages) == 1


async def test_a_client_that_goes_away_meanwhile_does_no_harm(build: Build, tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def hangs(_: Message, line: Line) -> None:
        await line.send(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\na")
        begun.set()
        await line.rest()

    credential = {**counting(tmp_path), "unauthorized": {"status": [403], "body": "token_expired"}}
    house = await build(hangs, credential=credential)
    client = await house.connect()
    await client.send(HEAD)
    await begun.wait()
    client.reset()
    await house.api.came(lambda: house.api.lines[0].ended.is_set())
    assert (await house.ask()).status == 200


async def test_the_error_of_a_challenge_decides(build: Build, tmp_path: Path) -> None:
    scope = answer(401, b"", 'WWW-Authenticate: Bearer error="insufficient_scope"')
    dead = answer(401, b"", "WWW-Authenticate: Basic realm=x", 'WWW-Authenticate: Bearer error="invalid_token"')
    credential = {**counting(tmp_path), "unauthorized": {"error": "invalid_token"}}
    house = await build(scope, dead, credential=credential)
    assert [(await house.ask()).status, (await house.ask()).status] == [401, 200]


# -- programs --------------------------------------------------------------------------------------------------


async def test_a_program_is_run_once_for_all_and_once_more_when_it_is_refused(build: Build, tmp_path: Path) -> None:
    good = {"t1"}

    async def api(message: Message, line: Line) -> None:
        await line.send(OK if bearer(message) in good else answer(401))

    house = await build(credential=counting(tmp_path))
    house.api.always = api
    assert {seen.status for seen in await asyncio.gather(*(house.ask() for _ in range(30)))} == {200}
    good = {"t2"}
    assert {seen.status for seen in await asyncio.gather(*(house.ask() for _ in range(30)))} == {200}
    assert (tmp_path / "runs").read_text().count("\n") == 2


async def test_a_program_that_fails_is_said_with_its_reason(build: Build) -> None:
    script = "echo 'please log in; password=canary-1' >&2; exit 4"
    house = await build(credential={"type": "exec", "command": ["sh", "-c", script]})
    seen = await house.ask()
    assert (seen.status, seen.error) == (502, "proxy_configuration_error")
    assert seen.problem["detail"] == "the command sh failed with exit code 4: please log in; password=***"
    assert house.api.messages == []
    assert "canary" not in house.proxy.lines


# -- sessions --------------------------------------------------------------------------------------------------


class Shop:
    """A site with a form, whose sessions are over after two requests."""

    def __init__(self) -> None:
        self.logins = 0
        self.left = 0

    async def __call__(self, message: Message, line: Line) -> None:
        if message.target == b"/login":
            await line.send(self._log_in(parse_qs(message.body.decode())))
        elif f"sid=s{self.logins}".encode() not in (message.get("Cookie") or b"") or not self.left:
            await line.send(answer(302, b"", "Location: /login?next=/x"))
        else:
            self.left -= 1
            again = f"Set-Cookie: sid=s{self.logins}; Path=/"
            await line.send(answer(200, message.get("Cookie") or b"", again, "Set-Cookie: theme=dark"))

    def _log_in(self, form: dict[str, list[str]]) -> bytes:
        if form != {"user": ["me"], "password": ["canary-pw"]}:
            return answer(302, b"", "Location: /login?failed", "Set-Cookie: sid=none")
        self.logins += 1
        self.left = 2
        return answer(302, b"", "Location: /", f"Set-Cookie: sid=s{self.logins}; Path=/; HttpOnly")


def session(url: str, password: str = "canary-pw") -> dict[str, Any]:
    login = {"url": f"{url}/login", "form": {"user": "me", "password": password}}
    return {"type": "session", "login": login, "unauthorized": {"status": [302], "redirect": "/login*"}}


async def test_a_session_is_renewed_and_no_client_holds_it(build: Build) -> None:
    shop = Shop()
    async with Api() as site:
        site.always = shop
        house = await build(upstream=site.url, credential=session(site.url))
        head = HEAD.replace(b"\r\n\r\n", b"\r\nCookie: basket=3; sid=mine\r\n\r\n")
        seen = [await house.ask(head) for _ in range(5)]
    assert [each.body for each in seen] == [f"basket=3; sid=s{number}".encode() for number in (1, 1, 2, 2, 3)]
    assert {tuple(each.all("Set-Cookie")) for each in seen} == {(b"theme=dark",)}
    assert shop.logins == 3


async def test_a_refused_login_is_said_and_not_repeated(build: Build) -> None:
    async with Api() as site:
        site.always = Shop()
        house = await build(upstream=site.url, credential=session(site.url, "canary-wrong"))
        seen = [await house.ask() for _ in range(5)]
        assert len(site.messages) == 1
    assert {(each.status, each.error) for each in seen} == {(502, "proxy_configuration_error")}
    assert "the login refused" in seen[0].problem["detail"]


# -- turns -----------------------------------------------------------------------------------------------------

KEYS = {name: {"type": "bearer", "token": f"canary-{name}"} for name in "abc"}


def taking_turns() -> dict[str, Any]:
    return {"credential": {"type": "rotate", "credentials": list("abc")}, "credentials": KEYS}


def throttled(seconds: int) -> Step:
    return answer(429, b"slow down", f"Retry-After: {seconds}")


async def test_who_is_throttled_makes_way_and_nobody_waits(build: Build) -> None:
    clock = FakeClock()
    post = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
    house = await build(throttled(20), answer(401), clock=clock, **taking_turns())
    seen = [await house.ask(post) for _ in range(3)]
    assert [each.status for each in seen] == [200, 200, 200]
    assert seen[0].told == b'countersign; details="credential b; credential c"'
    assert [bearer(message)[-1] for message in house.api.messages] == [*"abc", "c", "c"]
    assert {message.body for message in house.api.messages} == {b"hello"}
    assert clock.slept == []


async def test_when_all_are_throttled_the_last_answer_is_handed_on_and_the_first_to_be_free_is_waited_for(
    build: Build,
) -> None:
    clock = FakeClock()
    script = [throttled(300), throttled(40), throttled(600)]
    house = await build(*script, clock=clock, retry={"gate": "route"}, **taking_turns())
    seen = await house.ask()
    assert (seen.status, seen.get("Retry-After"), seen.body) == (429, b"600", b"slow down")
    waits = await house.ask()
    assert (waits.status, waits.error, waits.get("Retry-After")) == (429, "http_request_denied", b"40")
    await clock.advance(41)
    assert (await house.ask()).status == 200
    assert [bearer(message)[-1] for message in house.api.messages] == list("abcb")
