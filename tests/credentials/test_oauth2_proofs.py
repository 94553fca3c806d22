"""``dpop = true``: a token endpoint and an API that judge every proof."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from proxy.credentials import Context, Scheme
from proxy.errors import CredentialError, StoreError
from proxy.stores import Token
from proxy.stores.memory import MemoryStore
from proxy.tokens import Tokens
from tests.credentials.doubles import Bench, applied, draft, parse, request, values
from tests.doubles import FakeClock, Script, answer
from tests.proofs import Judge, ProofError
from tests.tokens.doubles import parts

URL = "https://issuer.test/token"
CANARY = "canary-dp"


class Issuer(httpx.AsyncBaseTransport):
    """A token endpoint that binds its tokens, and rotates refresh tokens.

    Attributes:
        keys: thumbprint by token.
        kind: the answers' ``token_type``.

    """

    def __init__(self, nonce: str | None = None) -> None:
        self.judge = Judge(nonce)
        self.keys: dict[str, str] = {}
        self.forms: list[dict[str, str]] = []
        self.kind = "DPoP"
        self.rotates = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        form = dict(httpx.QueryParams((await request.aread()).decode()))
        self.forms.append(form)
        try:
            key = self.judge(request.headers.get("dpop"), "POST", URL)
        except ProofError as failure:
            return self._answer(400, {"error": "use_dpop_nonce" if "nonce" in str(failure) else "invalid_dpop_proof"})
        if "refresh_token" in form and self.keys.get(form["refresh_token"]) != key:
            return self._answer(400, {"error": "invalid_grant"})
        count = len(self.forms)
        token = {"access_token": f"t{count}", "token_type": self.kind, "expires_in": 3600}
        if self.rotates or "refresh_token" not in form:
            token["refresh_token"] = f"r{count}"
        self.keys |= {str(token[name]): key for name in ("access_token", "refresh_token") if name in token}
        return self._answer(200, token)

    def _answer(self, status: int, body: object) -> httpx.Response:
        nonce = [(b"DPoP-Nonce", self.judge.nonce.encode())] if self.judge.nonce else []
        return answer(status, nonce, json.dumps(body).encode())


class Api(Script):
    """An API that judges proofs; `dead` are tokens that it takes no more."""

    def __init__(self, issuer: Issuer, nonce: str | None = None) -> None:
        super().__init__()
        self.judge = Judge(nonce)
        self.issuer = issuer
        self.dead: set[str] = set()
        self.problems: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await super().handle_async_request(request)
        scheme, _, token = request.headers["authorization"].partition(" ")
        target = request.extensions["target"].decode()
        try:
            key = self.judge(request.headers.get("dpop"), request.method, f"https://api.test{target}", token)
        except ProofError as failure:
            self.problems.append(str(failure))
            error = b"use_dpop_nonce" if "nonce" in str(failure) else b"invalid_dpop_proof"
            return answer(401, [*self.nonce, (b"WWW-Authenticate", b'Bearer, DPoP error="' + error + b'"')])
        good = scheme == "DPoP" and self.issuer.keys.get(token) == key and token not in self.dead
        return answer(200 if good else 401, self.nonce)

    @property
    def nonce(self) -> list[tuple[bytes, bytes]]:
        return [(b"DPoP-Nonce", self.judge.nonce.encode())] if self.judge.nonce else []


class World:
    """An issuer, an API, and a store; `scheme` makes what is between them, as each start does."""

    def __init__(self, token_nonce: str | None = None, api_nonce: str | None = None) -> None:
        self.issuer = Issuer(token_nonce)
        self.api = Api(self.issuer, api_nonce)
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.warnings: list[str] = []

    def scheme(self, **keys: Any) -> Scheme:
        table = {"type": "oauth2", "grant": "client_credentials", "token_url": URL, "client_id": "id",
                 "client_secret": CANARY, "dpop": True, **keys}  # fmt: skip
        tokens = Tokens(self.store, self.clock, self.issuer, warn=self.warnings.append)
        others: dict[str, Scheme] = {}
        return parse(table).build(Context("api", others.__getitem__, tokens, self.clock))

    def bench(self, scheme: Scheme | None = None) -> Bench:
        bench = Bench(scheme or self.scheme())
        bench.api = bench.exchange.upstream._transport = self.api
        return bench


async def test_every_request_has_a_proof_of_its_own() -> None:
    world = World()
    bench = world.bench()
    for method in ("GET", "GET", "POST"):
        assert (await bench(draft(b"/base/a%2Fb?x=1", method))).status_code == 200
    assert world.api.problems == []
    assert bench.sent("Authorization") == [b"DPoP t1"] * 3
    assert len(world.issuer.forms) == 1


async def test_what_a_client_sends_as_its_proof_is_not_ours() -> None:
    world = World()
    scheme = world.scheme()
    assert scheme.fields == {b"authorization", b"dpop"}
    sent = await applied(scheme, request(fields=[(b"DPoP", b"theirs"), (b"dpop", b"theirs")]))
    assert len(values(sent, "DPoP")) == 1


async def test_a_refused_token_is_renewed_with_the_key_that_it_is_bound_to() -> None:
    world = World()
    bench = world.bench()
    await bench()
    world.api.dead.add("t1")
    assert (await bench()).status_code == 200
    assert bench.story.notes == ("renewed token",)
    assert world.issuer.forms[1]["refresh_token"] == "r1"
    assert world.issuer.keys["t2"] == world.issuer.keys["t1"]


# -- nonces ----------------------------------------------------------------------------------------------------


async def test_the_token_endpoint_s_nonce_is_put_in_and_remembered() -> None:
    world = World(token_nonce="n-1")
    bench = world.bench()
    await bench()
    assert len(world.issuer.forms) == 2
    world.issuer.judge.nonce = "n-2"
    world.api.dead.add("t2")
    await bench()
    assert len(world.issuer.forms) == 4
    world.api.dead.add("t4")
    assert (await bench()).status_code == 200
    assert len(world.issuer.forms) == 5, "the last one was remembered"


async def test_an_assertion_is_not_sent_twice_for_it() -> None:
    world = World(token_nonce="n-1")
    await world.scheme(client_auth="client_secret_jwt").ready()
    first, second = (parts(form["client_assertion"])[1]["jti"] for form in world.issuer.forms)
    assert first != second


async def test_an_endpoint_that_is_never_content_is_asked_twice_only() -> None:
    world = World(token_nonce="n-1")

    class Never(Judge):
        def __call__(self, *what: Any) -> str:
            self.nonce = f"n-{len(world.issuer.forms)}"
            raise ProofError("nonce")

    world.issuer.judge = Never("n")
    with pytest.raises(CredentialError, match="use_dpop_nonce"):
        await world.bench()()
    assert len(world.issuer.forms) == 2


async def test_the_api_s_nonce_is_put_in_and_is_no_renewal() -> None:
    world = World(api_nonce="a-1")
    bench = world.bench()
    assert (await bench()).status_code == 200
    assert (world.api.problems, bench.story.notes, len(world.issuer.forms)) == (["nonce"], (), 1)
    await bench()
    assert len(world.api.requests) == 3, "it is remembered"
    world.api.judge.nonce = "a-2"
    await bench()
    assert len(world.api.requests) == 5


async def test_an_answer_of_any_kind_brings_the_next_nonce() -> None:
    world = World(api_nonce="a-1")
    bench = world.bench()
    await bench()
    judged = world.api.judge

    class Changing(Judge):
        """The answer to a good proof has another nonce."""

        def __call__(self, *what: Any) -> str:
            try:
                return judged(*what)
            finally:
                self.nonce = judged.nonce = "a-2"

    world.api.judge = Changing("a-1")
    for _ in range(3):
        await bench()
    assert world.api.problems == ["nonce"], "of the first request only"


async def test_many_at_once_are_told_at_once_and_renew_nothing() -> None:
    world = World(api_nonce="a-1")
    bench = world.bench()
    responses = await asyncio.gather(*(bench() for _ in range(20)))
    assert {response.status_code for response in responses} == {200}
    assert len(world.issuer.forms) == 1


async def test_a_nonce_that_has_been_used_does_not_send_it_in_circles() -> None:
    world = World(api_nonce="a-1")
    bench = world.bench()

    class Never(Judge):
        def __call__(self, *what: Any) -> str:
            raise ProofError("nonce")

    world.api.judge = Never("a-1")
    assert (await bench()).status_code == 401
    assert len(world.api.requests) == 3, "without, with the nonce, and with another token"


# -- the key ---------------------------------------------------------------------------------------------------


async def test_the_key_outlives_the_process_with_its_tokens() -> None:
    world = World()
    await world.bench()()
    (name,) = await world.store.names()
    token = await world.store.load(name)
    assert token is not None
    assert (token.token_type, token.dpop_key is not None) == ("DPoP", True)
    bench = world.bench(world.scheme())
    await bench()
    assert len(world.issuer.forms) == 1
    world.api.dead.add("t1")
    assert (await bench()).status_code == 200
    assert world.issuer.forms[1]["refresh_token"] == "r1"


async def test_a_refresh_token_that_is_not_rotated_keeps_its_key() -> None:
    world = World()
    world.issuer.rotates = False
    bench = world.bench()
    for number in (1, 2, 3):
        assert (await bench()).status_code == 200
        world.api.dead.add(f"t{number}")
    assert [form.get("refresh_token") for form in world.issuer.forms] == [None, "r1", "r1"]


class Broken(MemoryStore):
    """Can't be written, nor read."""

    async def load(self, name: str) -> Token | None:
        raise StoreError("away")

    async def save(self, name: str, token: Token) -> None:
        raise StoreError("away")


async def test_with_a_store_that_is_away_the_key_serves_from_memory() -> None:
    world = World()
    world.store = Broken()
    bench = world.bench()
    await bench()
    world.api.dead.add("t1")
    assert (await bench()).status_code == 200
    assert world.issuer.forms[1]["refresh_token"] == "r1"


async def test_a_login_of_another_process_brings_its_own_key() -> None:
    world = World()
    scheme = world.scheme()
    bench = world.bench(scheme)
    await bench()
    other = World()
    other.issuer, other.store = world.issuer, MemoryStore()
    await other.scheme().ready()
    (name,) = await other.store.names()
    theirs = await other.store.load(name)
    assert theirs is not None
    await world.store.save(name, theirs)
    for dead in ("t1", "t2"):
        world.api.dead.add(dead)
        assert (await bench()).status_code == 200
    assert bench.sent("Authorization") == [b"DPoP t1", b"DPoP t1", b"DPoP t2", b"DPoP t2", b"DPoP t3"]
    assert world.issuer.forms[-1]["refresh_token"] == "r2"


async def test_a_token_without_its_key_is_not_sent() -> None:
    world = World()
    await world.scheme().ready()
    (name,) = await world.store.names()
    await world.store.save(name, Token("t", None))
    with pytest.raises(CredentialError, match="has come without its key"):
        await world.bench(world.scheme())()
    assert world.api.requests == []


async def test_a_bearer_token_is_not_what_was_wanted() -> None:
    world = World()
    world.issuer.kind = "Bearer"
    with pytest.raises(CredentialError, match="token_type that is not DPoP"):
        await world.bench()()


async def test_a_token_of_before_is_not_taken_for_a_bound_one() -> None:
    world = World()
    names = {await world.scheme(dpop=dpop)._store_key() for dpop in (True, False)}  # type: ignore[attr-defined]
    assert len(names) == 2


async def test_explaining_it_shows_neither_token_nor_proof() -> None:
    to = request()
    told = await World().scheme().explain(to)
    assert told == {"token": f"from {URL} by client_credentials, or the store"}
    assert (values(to, "Authorization"), values(to, "DPoP")) == ([b"DPoP ***"], [b"***"])
