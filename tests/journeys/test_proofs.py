"""Tokens that are bound to a key (RFC 9449), over real sockets: the API judges what has arrived."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.journeys.conftest import HEAD, Build
from tests.journeys.wires import OK, Api, Line, Message, answer
from tests.proofs import Judge, NonceError

BODY = bytes(range(256)) * 600


class Bound:
    """A token endpoint and an API that take nothing but proofs.

    Attributes:
        judge: of the API.
        keys: thumbprint by token.

    """

    def __init__(self, issuer: Api) -> None:
        self.issuer = issuer
        self.judge, self._issuing = Judge("n-1"), Judge()
        self.keys: dict[str, str] = {}
        issuer.always = self._issue

    def credential(self) -> dict[str, Any]:
        return {
            "type": "oauth2", "grant": "client_credentials", "token_url": f"{self.issuer.url}/token?tenant=x",
            "client_id": "me", "client_secret": "the-client-secret", "dpop": True,
        }  # fmt: skip

    async def _issue(self, message: Message, line: Line) -> None:
        key = self._issuing(_text(message, "DPoP"), "POST", f"{self.issuer.url}/token")
        token = f"token-{len(self.issuer.messages)}"
        self.keys[token] = key
        body = {"access_token": token, "token_type": "DPoP", "expires_in": 3600}
        await line.send(answer(200, json.dumps(body).encode(), "Content-Type: application/json"))

    async def api(self, message: Message, line: Line) -> None:
        """A step of the API."""
        nonce = f"DPoP-Nonce: {self.judge.nonce}"
        token = _text(message, "Authorization").removeprefix("DPoP ")
        url = f"http://{_text(message, 'Host')}{message.target.decode()}"
        try:
            good = self.judge(_text(message, "DPoP"), message.method.decode(), url, token) == self.keys.get(token)
        except NonceError:
            await line.send(answer(401, b"", nonce, 'WWW-Authenticate: DPoP error="use_dpop_nonce"'))
            return
        await line.send(answer(200 if good else 401, b"ok", nonce))


def _text(message: Message, name: str) -> str:
    return (message.get(name) or b"").decode()


@pytest.fixture
async def bound() -> AsyncIterator[Bound]:
    async with Api() as issuer:
        yield Bound(issuer)


async def test_what_arrives_proves_itself_for_exactly_this_request(build: Build, bound: Bound) -> None:
    house = await build(credential=bound.credential(), path="/base")
    house.api.always = bound.api
    for target in (b"/x", b"/a%2Fb/%7Eu?q=1&q=%2B", b"/?"):
        reply = await house.ask(HEAD.replace(b"/x", target))
        assert (reply.status, reply.body, reply.told) == (200, b"ok", b"")
    assert [message.target for message in house.api.messages] == [
        b"/base/x", b"/base/x", b"/base/a%2Fb/%7Eu?q=1&q=%2B", b"/base/?",
    ]  # fmt: skip
    assert len(bound.issuer.messages) == 1


async def test_a_body_is_sent_again_for_a_nonce(build: Build, bound: Bound) -> None:
    house = await build(credential=bound.credential())
    house.api.always = bound.api
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nDPoP: theirs\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    reply = await house.ask(head + BODY, "POST")
    assert (reply.status, reply.told) == (200, b"")
    assert [message.body for message in house.api.messages] == [BODY, BODY]
    assert len(bound.issuer.messages) == 1


async def test_a_refused_token_is_renewed_with_proof(build: Build, bound: Bound) -> None:
    house = await build(OK, credential=bound.credential())
    house.api.always = bound.api
    await house.ask()
    bound.keys.clear()
    reply = await house.ask()
    assert (reply.status, reply.told) == (200, b'countersign; details="renewed token"')
    assert len(bound.issuer.messages) == 2
