from __future__ import annotations

from typing import Any

import jwt
import pytest
from pydantic import ValidationError

from proxy.errors import SecretError
from tests.credentials.doubles import Bench, applied, build, parse, request, values
from tests.credentials.keys import PEM, verified
from tests.doubles import START, FakeClock

TABLE: dict[str, Any] = {"type": "jwt", "key": PEM, "claims": {"iss": "me", "roles": ["a", {"b": 1}]}}


def token(authorization: list[bytes]) -> str:
    (value,) = authorization
    return value.decode().removeprefix("Bearer ")


async def sent(table: dict[str, Any], clock: FakeClock | None = None) -> str:
    return token(values(await applied(build(table, clock=clock or FakeClock())), "Authorization"))


async def test_its_claims_are_signed_with_times_and_a_name_of_its_own() -> None:
    claims = verified(await sent(TABLE))
    assert len(claims.pop("jti")) == 32
    assert claims == {"iss": "me", "roles": ["a", {"b": 1}], "iat": START, "exp": START + 300}


async def test_its_header_can_be_added_to() -> None:
    header = jwt.get_unverified_header(await sent({**TABLE, "headers": {"kid": "k1", "typ": "at+jwt"}}))
    assert header == {"alg": "RS256", "kid": "k1", "typ": "at+jwt"}


async def test_the_key_may_be_a_shared_secret() -> None:
    secret = "canary-a-secret-that-is-shared-by-two"
    signed = await sent({"type": "jwt", "key": secret})
    assert jwt.decode(signed, secret, ["HS256"], options={"verify_exp": False, "verify_iat": False})["iat"] == START
    longer = {"type": "jwt", "key": secret * 2, "algorithm": "HS512"}
    assert jwt.get_unverified_header(await sent(longer))["alg"] == "HS512"


async def test_it_serves_many_requests_and_is_signed_anew_before_it_expires() -> None:
    clock = FakeClock()
    scheme = build({**TABLE, "ttl": "100s"}, clock=clock)
    first = token(values(await applied(scheme), "Authorization"))
    assert scheme.expires_at() == START + 100
    await clock.advance(60)
    assert token(values(await applied(scheme), "Authorization")) == first
    await clock.advance(20)
    await applied(scheme)
    await clock.advance(1)
    second = token(values(await applied(scheme), "Authorization"))
    assert verified(second)["exp"] > verified(first)["exp"]


async def test_one_that_is_refused_is_signed_anew_once() -> None:
    bench = Bench(build(TABLE, clock=FakeClock()), 401, 401)
    assert (await bench()).status_code == 401
    first, second = bench.sent("Authorization")
    assert verified(token([first]))["jti"] != verified(token([second]))["jti"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"key": "canary-x", "algorithm": "RS256"}, "the key is no PEM"),
        ({"algorithm": "ES256"}, "the key does not sign by ES256; right would be RS256"),
        ({"algorithm": "HS256"}, "the key does not sign by HS256"),
        ({"key": '{"kty": "canary"}'}, "the key is no JWK"),
    ],
)
async def test_a_key_that_does_not_fit_is_said_without_it(changes: dict[str, Any], says: str) -> None:
    scheme = build({**TABLE, **changes}, clock=FakeClock())
    for step in (scheme.ready(), scheme.explain(request()), applied(scheme)):
        with pytest.raises(SecretError, match=says) as caught:
            await step
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"claims": {"exp": 1}}, "exp is set here; right would be no such claim, and ttl"),
        ({"claims": {"iat": 1}}, "iat is set here"),
        ({"claims": {"jti": "x"}}, "jti is set here"),
        ({"headers": {"alg": "none"}}, "right would be algorithm"),
        ({"algorithm": "none"}, "RS256"),
        ({"ttl": 0}, "greater than or equal to 1"),
    ],
)
def test_mistakes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        parse({**TABLE, **changes})


async def test_explaining_it_signs_nothing() -> None:
    to = request()
    assert await build(TABLE, clock=FakeClock()).explain(to) == {"token": "signed here by RS256, valid for 300 s"}
    assert values(to, "Authorization") == [b"Bearer ***"]
