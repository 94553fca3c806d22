"""A login on another device; a whole one stands in test_authority.py."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from proxy.errors import ConnectionTerminated, CredentialError
from proxy.tokens.device import DeviceLogin
from proxy.tokens.endpoint import Refused
from tests.doubles import HurriedClock, Script, answer
from tests.tokens.test_requests import TOKEN, form, requests

ENDPOINT = "https://issuer.test/device"
CANARY = "canary-d3"
GIVEN: dict[str, Any] = {
    "device_code": f"{CANARY}-code", "user_code": "WDJB-MJHT", "verification_uri": "https://issuer.test/go",
    "expires_in": 60, "interval": 5,
}  # fmt: skip


def said(status: int, body: object) -> httpx.Response:
    return answer(status, [], json.dumps(body).encode())


def refusal(code: str, description: str = f"of {GIVEN['device_code']}") -> httpx.Response:
    return said(400, {"error": code, "error_description": description})


async def begun(script: Script, **keys: Any) -> DeviceLogin:
    keys = {"device_authorization_url": ENDPOINT, **keys}
    return await DeviceLogin.begin(requests("device_code", "none", script, **keys))


async def test_a_code_is_asked_for() -> None:
    script = Script(said(200, {**GIVEN, "verification_uri_complete": "https://issuer.test/go?c=WDJB-MJHT"}))
    device = await begun(script, scope="a b", audience="x", extra={"tenant": "t"})
    assert str(script.requests[0].url) == ENDPOINT
    assert form(script) == {"client_id": "app", "scope": "a b", "audience": "x", "tenant": "t"}
    assert (device.user_code, device.url, device.interval, device.life) == (
        "WDJB-MJHT", "https://issuer.test/go", 5, 60,
    )  # fmt: skip
    assert device.complete_url == "https://issuer.test/go?c=WDJB-MJHT"
    assert CANARY not in repr(device)


@pytest.mark.parametrize(
    ("given", "interval", "life"),
    [({"interval": None, "expires_in": None}, 5, 600), ({"interval": "7", "expires_in": "90"}, 7, 90),
     ({"interval": 0, "expires_in": -1}, 5, 600), ({"interval": 10**9}, 60, 60)],
)  # fmt: skip
async def test_times_are_taken_as_they_may_be_meant(given: dict[str, Any], interval: float, life: float) -> None:
    device = await begun(Script(said(200, GIVEN | given)))
    assert (device.interval, device.life) == (interval, life)


async def test_google_s_name_of_the_address_will_do() -> None:
    given = {**GIVEN, "verification_url": "https://google.test/device"}
    del given["verification_uri"]
    assert (await begun(Script(said(200, given)))).url == "https://google.test/device"


@pytest.mark.parametrize(
    ("given", "says"),
    [({"device_code": ""}, "no usable code"), ({"user_code": "a\x1b[2Jb"}, "no usable code"),
     ({"verification_uri": None}, "no usable code"), ({"verification_uri": f"javascript:{CANARY}"}, "is not a URL"),
     ({"verification_uri_complete": f"file:///{CANARY}"}, "is not a URL")],
)  # fmt: skip
async def test_what_can_not_be_shown_is_no_answer(given: dict[str, Any], says: str) -> None:
    with pytest.raises(CredentialError, match=says) as caught:
        await begun(Script(said(200, GIVEN | given)))
    assert CANARY not in str(caught.value)


async def test_a_refusal_is_told_as_that_of_its_endpoint() -> None:
    says = r"^the device authorization endpoint refused: unauthorized_client \(not for you, \*\*\*\)$"
    with pytest.raises(Refused, match=says):
        await begun(Script(refusal("unauthorized_client", f"not for you, {CANARY}-q")), client_secret=f"{CANARY}-q")


@pytest.mark.parametrize("status", [200, 201])
async def test_an_answer_may_be_a_form(status: int) -> None:
    body = urlencode({**GIVEN, "verification_uri_complete": ""}).encode()
    for kind in (b"application/x-www-form-urlencoded", b"text/plain"):
        device = await begun(Script(answer(status, [(b"Content-Type", kind)], body)))
        assert (device.user_code, device.interval, device.life) == ("WDJB-MJHT", 5, 60)


async def test_a_page_is_no_answer_and_is_described() -> None:
    page = answer(200, [(b"Content-Type", b"text/html")], f"<html>{CANARY}".encode())
    says = r"answered 200 with a body that can't be used \(text/html, 15 bytes\); expected JSON$"
    with pytest.raises(CredentialError, match=says):
        await begun(Script(page))


async def test_github_answers_polls_with_200_and_a_form() -> None:
    pending = answer(200, [(b"Content-Type", b"text/plain")], b"error=authorization_pending&error_description=Wait.")
    slept, _, token = await polled(pending, answer(200, [(b"Content-Type", b"text/plain")], b"access_token=t&scope="))
    assert (slept, token.access_token) == ([5, 5], "t")


async def test_a_server_without_such_an_endpoint_is_said() -> None:
    metadata = said(200, {"issuer": "https://issuer.test"})
    with pytest.raises(CredentialError, match="right would be device_authorization_url"):
        await begun(Script(metadata), issuer="https://issuer.test", device_authorization_url=None)


# -- polling ---------------------------------------------------------------------------------------------------


async def polled(*steps: httpx.Response | Exception | int, **given: Any) -> tuple[list[float], Script, Any]:
    script = Script(said(200, GIVEN | given), *steps)
    device = await begun(script)
    clock = HurriedClock()
    try:
        token: Any = await device.token(clock)
    except CredentialError as failure:
        token = failure
    return clock.slept, script, token


async def test_it_asks_at_the_server_s_pace_until_the_user_has_said_yes() -> None:
    steps = [refusal("authorization_pending"), refusal("authorization_pending"), said(200, TOKEN)]
    slept, script, token = await polled(*steps)
    assert (slept, token.access_token) == ([5, 5, 5], "t")
    assert form(script, 1) == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": GIVEN["device_code"],
        "client_id": "app",
    }  # fmt: skip


async def test_it_goes_slower_when_told_and_stays_so() -> None:
    steps = [refusal("slow_down"), refusal("authorization_pending"), refusal("slow_down"), said(200, TOKEN)]
    assert (await polled(*steps))[0] == [5, 10, 10, 15]


async def test_a_server_that_is_away_is_asked_less_and_less() -> None:
    slept, _, token = await polled(ConnectionTerminated(sent=True), 503, said(200, TOKEN), expires_in=600)
    assert (slept, token.access_token) == ([5, 10, 20], "t")


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant", "invalid_client"])
async def test_it_asks_no_more_once_that_is_of_no_use(code: str) -> None:
    slept, _, failure = await polled(refusal("authorization_pending"), refusal(code))
    assert (slept, failure.code) == ([5, 5], code)
    assert f"{code} (of ***)" in failure.detail


async def test_it_ends_when_the_code_does() -> None:
    slept, script, failure = await polled(*[refusal("authorization_pending") for _ in range(99)])
    assert (sum(slept), len(script.requests)) == (55, 12)
    assert failure.detail == "the code has expired before it was entered"
