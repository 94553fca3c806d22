"""Tokens that die under the hands of those who use them: one renewal, the same request again, nobody notices."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from proxy import demo
from proxy.tokens import endpoint
from tests.conftest import Start
from tests.doubles import FakeClock, HurriedClock
from tests.journeys.conftest import HEAD, Build, House
from tests.journeys.wires import OK, PATIENCE, Api, Line, Message, Step, answer, chunked, closing, early, slices

REFUSED = answer(401, b"no", 'WWW-Authenticate: Bearer error="invalid_token"', "X-Theirs: yes")
LARGE = bytes(range(251)) * 8400  # 2 MiB


def token(access_token: str, **more: object) -> bytes:
    body = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600, **more}
    return answer(200, json.dumps(body).encode(), "Content-Type: application/json")


class Accounts:
    """What a token endpoint and its API have in common: which tokens are good.

    Attributes:
        issuer: the endpoint; as many messages as tokens that were asked for.
        held: while it is clear, the endpoint does not answer.

    """

    def __init__(self, issuer: Api) -> None:
        self.issuer = issuer
        self.good: set[str] = set()
        self.held = asyncio.Event()
        self.held.set()
        self.life = 3600
        issuer.always = self._issue

    async def _issue(self, _: Message, line: Line) -> None:
        await self.held.wait()
        made = f"token-{len(self.issuer.messages)}"
        self.good = {made}
        await line.send(token(made, expires_in=self.life))

    def knows(self, message: Message) -> bool:
        return (message.get("Authorization") or b"").decode().removeprefix("Bearer ") in self.good

    async def api(self, message: Message, line: Line) -> None:
        """A step of the API: who has a good token hears ok."""
        await line.send(OK if self.knows(message) else REFUSED)

    def credential(self, **more: object) -> dict[str, Any]:
        return {
            "type": "oauth2", "grant": "client_credentials", "token_url": f"{self.issuer.url}/token",
            "client_id": "me", "client_secret": "the-client-secret", **more,
        }  # fmt: skip


@pytest.fixture
async def accounts() -> AsyncIterator[Accounts]:
    async with Api() as issuer:
        yield Accounts(issuer)


Renewing = Callable[..., Awaitable[House]]


@pytest.fixture
def renewing(build: Build, accounts: Accounts) -> Renewing:
    """Build houses whose API takes tokens of the accounts."""

    async def built(*script: Step, grant: dict[str, Any] | None = None, **route: Any) -> House:
        house = await build(*script, credential=accounts.credential(**(grant or {})), **route)
        house.api.always = accounts.api
        return house

    return built


# -- once ----------------------------------------------------------------------------------------------


async def test_200_requests_on_an_expired_token_ask_for_one(renewing: Renewing, accounts: Accounts) -> None:
    clock = FakeClock()
    accounts.life = 100
    house = await renewing(clock=clock)
    assert (await house.ask()).status == 200
    clock.now += 101
    answers = await asyncio.gather(*(house.ask() for _ in range(200)))
    assert [each.status for each in answers] == [200] * 200
    assert len(accounts.issuer.messages) == 2
    assert len(house.api.messages) == 201  # a token that is known to be dead is never sent


async def test_200_requests_on_a_revoked_token_ask_for_one(renewing: Renewing, accounts: Accounts) -> None:
    house = await renewing()
    assert (await house.ask()).status == 200
    accounts.good.clear()
    all_here = asyncio.Event()

    async def refused_together(message: Message, line: Line) -> None:
        await all_here.wait()  # a request that comes later waits for the renewal, and is not refused
        await accounts.api(message, line)

    house.api.always = refused_together
    asking = [asyncio.create_task(house.ask()) for _ in range(200)]
    await house.api.came(lambda: len(house.api.messages) == 201)
    all_here.set()
    answers = await asyncio.gather(*asking)
    assert [each.status for each in answers] == [200] * 200
    assert {each.told for each in answers} == {b'countersign; details="renewed token"'}
    assert len(accounts.issuer.messages) == 2


async def test_200_first_requests_ask_for_one(renewing: Renewing, accounts: Accounts) -> None:
    house = await renewing()
    answers = await asyncio.gather(*(house.ask() for _ in range(200)))
    assert [each.status for each in answers] == [200] * 200
    assert len(accounts.issuer.messages) == 1


async def test_a_late_401_of_an_old_token_renews_nothing(renewing: Renewing, accounts: Accounts) -> None:
    late = asyncio.Event()

    async def refused_late(_: Message, line: Line) -> None:
        await late.wait()
        await line.send(REFUSED)

    house = await renewing(OK, refused_late)
    assert (await house.ask()).status == 200
    accounts.good.clear()
    first = asyncio.create_task(house.ask())
    await house.api.came(lambda: len(house.api.messages) == 2)
    assert (await house.ask()).status == 200
    assert len(accounts.issuer.messages) == 2
    late.set()
    assert (await first).status == 200
    assert len(accounts.issuer.messages) == 2
    assert house.api.messages[-1].get("Authorization") == b"Bearer token-2"


async def test_a_client_that_leaves_does_not_cancel_the_fetch(renewing: Renewing, accounts: Accounts) -> None:
    accounts.held.clear()
    house = await renewing()
    client = await house.connect()
    await client.send(HEAD)
    await accounts.issuer.came(lambda: accounts.issuer.messages)
    client.reset()
    await house.api.came(lambda: "the client went away" in house.proxy.lines)
    second = asyncio.create_task(house.ask())
    accounts.held.set()
    assert (await second).status == 200
    assert len(accounts.issuer.messages) == 1
    assert len(house.api.messages) == 1


async def test_a_token_is_renewed_before_it_expires_and_nobody_waits(renewing: Renewing, accounts: Accounts) -> None:
    clock = FakeClock()
    accounts.life = 1000
    house = await renewing(clock=clock)
    assert (await house.ask()).status == 200
    clock.now += 950
    accounts.held.clear()
    assert (await house.ask()).status == 200  # with the old one
    await accounts.issuer.came(lambda: len(accounts.issuer.messages) == 2)
    accounts.held.set()
    await accounts.issuer.came(lambda: accounts.good == {"token-2"})
    for _ in range(100):  # some turns of the loop later it is used
        assert (await house.ask()).status == 200
        if house.api.messages[-1].get("Authorization") == b"Bearer token-2":
            break
    else:
        raise AssertionError("the new token is not used")
    assert len(accounts.issuer.messages) == 2


# -- the same request again ----------------------------------------------------------------------------


def post(body: bytes, *, in_chunks: bool) -> bytes:
    head = b"POST /x?a HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n"
    if in_chunks:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*slices(body, 1000))
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


LIMITS = {"replay_memory": 5000, "replay_disk": 100_000}


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("size", [0, 1, 4000, 50_000, 105_000])
async def test_a_refused_post_is_sent_again_as_it_was(
    renewing: Renewing, accounts: Accounts, size: int, *, in_chunks: bool
) -> None:
    house = await renewing(REFUSED, limits=LIMITS)
    body = LARGE[:size]
    answer = await house.ask(post(body, in_chunks=in_chunks), "POST")
    assert (answer.status, answer.told) == (200, b'countersign; details="renewed token"')
    first, second = house.api.messages
    assert first.body == second.body == body
    without = [[field for field in each.fields if field[0] != b"Authorization"] for each in (first, second)]
    assert without[0] == without[1]
    assert [each.get("Authorization") for each in (first, second)] == [b"Bearer token-1", b"Bearer token-2"]
    assert len(accounts.issuer.messages) == 2


@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
async def test_a_body_over_the_limits_streams_on_and_its_401_is_handed_on(
    renewing: Renewing, accounts: Accounts, *, in_chunks: bool
) -> None:
    house = await renewing(REFUSED, limits=LIMITS)
    answer = await house.ask(post(LARGE, in_chunks=in_chunks), "POST")
    assert (answer.status, answer.body, answer.get("X-Theirs")) == (401, b"no", b"yes")
    assert [message.body == LARGE for message in house.api.messages] == [True]


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
async def test_any_method_is_sent_again(renewing: Renewing, method: str) -> None:
    house = await renewing(answer(401))
    seen = await house.ask(HEAD.replace(b"GET", method.encode(), 1), method)
    assert (seen.status, seen.told) == (200, b'countersign; details="renewed token"')
    assert [message.method for message in house.api.messages] == [method.encode()] * 2


@pytest.mark.parametrize("ends", [True, False], ids=["and closes", "and reads on"])
@pytest.mark.parametrize("in_chunks", [False, True], ids=["with a length", "in chunks"])
async def test_a_401_within_the_upload_is_renewed_and_the_upload_sent_again(
    renewing: Renewing, accounts: Accounts, *, in_chunks: bool, ends: bool
) -> None:
    @early
    async def refuse_at_once(_: Message, line: Line) -> None:
        await line.send(REFUSED)
        if ends:
            line.writer.write_eof()
        await line.rest()

    house = await renewing(refuse_at_once)
    client = await house.connect()
    request = post(LARGE, in_chunks=in_chunks)
    half = len(request) // 2
    await client.send(request[:half])
    await accounts.issuer.came(lambda: len(accounts.issuer.messages) == 2)
    await client.send(request[half:])
    seen = await client.answer()
    assert (seen.status, seen.told) == (200, b'countersign; details="renewed token"')
    assert hashlib.sha256(house.api.messages[-1].body).digest() == hashlib.sha256(LARGE).digest()
    assert len(house.api.lines[0].received) < len(request)
    assert (await client_goes_on(client)).status == 200


async def client_goes_on(client: Line) -> Message:
    """Another answer on the same connection."""
    await client.send(HEAD)
    return await client.answer()


async def test_an_early_401_of_a_static_credential_reaches_a_client_that_still_uploads(build: Build) -> None:
    @early
    async def refuse_at_once(_: Message, line: Line) -> None:
        await line.send(REFUSED)
        await line.rest()

    house = await build(refuse_at_once)
    client = await house.connect()
    request = post(LARGE, in_chunks=False)
    await client.send(request[: len(request) // 2])
    seen = await client.answer()
    assert (seen.status, seen.body, seen.told) == (401, b"no", b"")


# -- when it does not help -----------------------------------------------------------------------------


async def test_still_401_is_handed_on_as_it_came(renewing: Renewing, accounts: Accounts) -> None:
    second = answer(401, b"still no", "WWW-Authenticate: Bearer", "X-Theirs: again")
    house = await renewing(REFUSED, second)
    seen = await house.ask()
    assert (seen.status, seen.body, seen.get("X-Theirs")) == (401, b"still no", b"again")
    assert seen.get("WWW-Authenticate") == b"Bearer"
    assert len(house.api.messages) == 2
    assert len(accounts.issuer.messages) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [(answer(400, b'{"error":"invalid_grant"}'), b"invalid_grant"), (answer(500), b"500"),
     (answer(200, b"?"), b"can't be used"), (closing(), b"token endpoint")],
)  # fmt: skip
async def test_a_renewal_that_fails_hands_the_401_on_and_says_why(
    renewing: Renewing, accounts: Accounts, said: Step, why: bytes
) -> None:
    house = await renewing(OK, REFUSED)
    assert (await house.ask()).status == 200
    accounts.issuer.always = said
    seen = await house.ask()
    assert (seen.status, seen.body, seen.get("X-Theirs")) == (401, b"no", b"yes")
    assert seen.told.startswith(b"countersign; error=")
    assert b"renewal failed" in seen.told
    assert why in seen.told
    assert len(house.api.messages) == 2


@pytest.mark.parametrize(
    ("said", "status", "error", "asked"),
    [
        (answer(500), 503, "destination_unavailable", 2),
        (answer(503, b"", "Retry-After: 7"), 503, "destination_unavailable", 1),
        (answer(429), 503, "destination_unavailable", 1),
        (closing(), 503, "destination_unavailable", 2),
        (answer(401, b'{"error":"invalid_client"}'), 502, "proxy_configuration_error", 1),
        (answer(400, b'{"error":"invalid_grant"}'), 502, "proxy_configuration_error", 1),
        (answer(403, b"<html>"), 502, "proxy_configuration_error", 1),
        (answer(200, b"<html>"), 502, "proxy_configuration_error", 1),
        (answer(200, b"{}"), 502, "proxy_configuration_error", 1),
        (answer(200, b'{"access_token": "a\\nb"}'), 502, "proxy_configuration_error", 1),
        (answer(302, b"", "Location: http://evil.example/token"), 502, "proxy_configuration_error", 1),
    ],
)  # fmt: skip
async def test_a_token_that_cannot_be_had_is_told_and_not_asked_for_again_at_once(
    renewing: Renewing, accounts: Accounts, said: Step, status: int, error: str, asked: int
) -> None:
    accounts.issuer.always = said
    house = await renewing(retry={"attempts": 1}, clock=HurriedClock())
    for _ in range(3):
        seen = await house.ask()
        assert (seen.status, seen.error) == (status, error)
        assert (seen.get("Retry-After") is not None) == (status == 503)
    assert house.api.messages == []
    assert len(accounts.issuer.messages) == asked
    assert b"the-client-secret" not in seen.raw + seen.body
    assert "the-client-secret" not in house.proxy.lines


async def test_a_token_endpoint_that_hangs_is_a_503(
    renewing: Renewing, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = endpoint.TokenEndpoint.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "timeout", 0.2)
    accounts.held.clear()
    house = await renewing()
    seen = await house.ask()
    assert (seen.status, seen.error) == (503, "destination_unavailable")
    assert int(seen.get("Retry-After") or b"0") >= 1


async def test_a_token_endpoint_that_recovers_is_asked_again(renewing: Renewing, accounts: Accounts) -> None:
    clock = FakeClock()
    accounts.issuer.script = [answer(503, b"", "Retry-After: 2")]
    house = await renewing(clock=clock)
    seen = await house.ask()
    assert (seen.status, seen.get("Retry-After")) == (503, b"2")
    clock.now += 2
    assert (await house.ask()).status == 200


@pytest.mark.parametrize("said", [answer(500), answer(503), closing()], ids=["500", "503", "closes"])
async def test_one_that_fails_for_a_moment_is_not_noticed(renewing: Renewing, accounts: Accounts, said: Step) -> None:
    accounts.issuer.script = [said]
    house = await renewing(clock=HurriedClock())
    assert (await house.ask()).status == 200
    assert len(accounts.issuer.messages) == 2


async def test_a_rotated_refresh_token_is_used_the_next_time(renewing: Renewing, accounts: Accounts) -> None:
    accounts.issuer.script = [token("first", refresh_token="rotated-1"), token("second", refresh_token="rotated-2")]
    house = await renewing(OK, REFUSED, OK, REFUSED, OK, grant={"grant": "refresh_token", "refresh_token": "original"})
    for _ in range(3):
        assert (await house.ask()).status == 200
    forms = [parse_qs(message.body.decode()) for message in accounts.issuer.messages]
    assert [form["refresh_token"] for form in forms] == [["original"], ["rotated-1"], ["rotated-2"]]


# -- other credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credential",
    [{"type": "bearer", "token": "dead"}, {"type": "basic", "username": "me", "password": "wrong"},
     {"type": "api_key", "in": "header", "name": "X-Key", "value": "dead"}, {"type": "none"}],
    ids=lambda credential: str(credential["type"]),
)  # fmt: skip
async def test_a_401_for_what_can_not_renew_is_handed_on_at_once(build: Build, credential: dict[str, str]) -> None:
    house = await build(REFUSED, credential=credential)
    seen = await house.ask()
    assert (seen.status, seen.body, seen.told) == (401, b"no", b"")
    assert len(house.api.messages) == 1


async def test_a_fallback_goes_on_to_the_next_and_remembers_it(build: Build) -> None:
    async def step(message: Message, line: Line) -> None:
        await line.send(OK if message.get("Authorization") == b"Bearer good" else REFUSED)

    credentials = {
        "dead": {"type": "bearer", "token": "dead"},
        "good": {"type": "bearer", "token": "good"},
        "both": {"type": "fallback", "credentials": ["dead", "good"]},
    }
    house = await build(credential="both", credentials=credentials)
    house.api.always = step
    seen = await house.ask(post(b"hello", in_chunks=True), "POST")
    assert (seen.status, seen.told) == (200, b'countersign; details="credential good"')
    assert [message.body for message in house.api.messages] == [b"hello", b"hello"]
    seen = await house.ask()
    assert (seen.status, seen.told) == (200, b"")
    assert len(house.api.messages) == 3


async def test_a_digest_challenge_is_answered_for_the_target_as_it_is(build: Build) -> None:
    challenge = answer(401, b"", 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256')
    house = await build(challenge, credential={"type": "digest", "username": "me", "password": "pw"})
    for _ in range(2):
        seen = await house.ask(post(b"hello", in_chunks=False).replace(b"/x?a", b"/x%2Fy?a=b%20c&&", 1), "POST")
        assert seen.status == 200
    first, second, third = house.api.messages
    assert first.get("Authorization") is None
    for message, count in ((second, b"00000001"), (third, b"00000002")):
        fields = message.get("Authorization") or b""
        assert b'uri="/x%2Fy?a=b%20c&&"' in fields
        assert b"nc=" + count in fields
        assert message.body == b"hello"


FOREIGN = """
import httpx

class Foreign(httpx.Auth):
    requires_request_body = True
    requires_response_body = True

    def __init__(self, token_url, secret):
        self._url, self._secret, self._token = token_url, secret, "none"

    def auth_flow(self, request):
        request.headers["Authorization"] = f"Foreign {self._token}"
        request.headers["X-Size"] = str(len(request.content))
        response = yield request
        if response.status_code == 401 and response.json()["again"]:
            answer = yield httpx.Request("POST", self._url, data={"secret": self._secret})
            self._token = answer.json()["access_token"]
            request.headers["Authorization"] = f"Foreign {self._token}"
            yield request
"""


async def test_an_auth_of_somebody_elses_renews_in_its_own_way(
    build: Build, accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_auth_of_a_test.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("FOREIGN_SECRET", "the-foreign-secret")
    credential = {
        "type": "python", "class": "foreign_auth_of_a_test:Foreign", "token_url": accounts.issuer.url + "/token",
        "secret": {"env": "FOREIGN_SECRET"},
    }  # fmt: skip
    house = await build(answer(401, b'{"again": true}'), credential=credential)
    seen = await house.ask(post(b"hello", in_chunks=False), "POST")
    assert seen.status == 200
    first, second = house.api.messages
    assert [each.get("Authorization") for each in (first, second)] == [b"Foreign none", b"Foreign token-1"]
    assert [each.get("X-Size") for each in (first, second)] == [b"5", b"5"]
    assert [each.body for each in (first, second)] == [b"hello", b"hello"]
    assert [message.body for message in accounts.issuer.messages] == [b"secret=the-foreign-secret"]
    assert "the-foreign-secret" not in house.proxy.lines


async def test_the_client_authenticates_at_the_token_endpoint_as_rfc_6749_says(
    renewing: Renewing, accounts: Accounts
) -> None:
    house = await renewing(grant={"client_id": "a b:c", "client_secret": "d/e%f", "scope": ["x", "y"], "audience": "z"})
    assert (await house.ask()).status == 200
    (message,) = accounts.issuer.messages
    assert message.get("Authorization") == b"Basic " + b64encode(b"a+b%3Ac:d%2Fe%25f")
    assert parse_qs(message.body.decode()) == {
        "grant_type": ["client_credentials"], "scope": ["x y"], "audience": ["z"],
    }  # fmt: skip


# -- the demo API --------------------------------------------------------------------------------------


async def test_the_demo_revokes_a_token_and_nobody_notices(start: Start) -> None:
    api = await demo.start("127.0.0.1", 0)
    house = House(await start(dict(demo.settings(api.url))))
    try:
        answers = [await house.ask(b"GET /oauth2/hello HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(12)]
        assert [each.status for each in answers] == [200] * 12
        assert any(b"renewed token" in each.told for each in answers)
        for path in (b"/basic", b"/bearer", b"/hmac"):
            seen = await house.ask(b"GET " + path + b"/hello?b=2&a=%2F HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert seen.status == 200, seen.body
        body = b"a=1"
        signed = await house.ask(
            b"POST /hmac/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        assert signed.status == 200
        async with asyncio.timeout(PATIENCE):
            assert (await house.ask(b"GET /bearer/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")).status in (200, 404)
    finally:
        await house.aclose()
        await api.aclose()
