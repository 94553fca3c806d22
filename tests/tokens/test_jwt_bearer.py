"""A JWT that says whose right is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.errors import SecretError
from proxy.tokens import Client
from proxy.tokens.jwt_bearer import JwtBearer
from tests.doubles import START
from tests.tokens.doubles import TOKEN_URL, client, parts, private_jwk


def bearer(**keys: Any) -> Client:
    return client(**{"grant": "jwt_bearer", "client_id": "app", "key": private_jwk(), **keys})


async def claims_of(**keys: Any) -> dict[str, Any]:
    return parts((await JwtBearer().form(bearer(**keys)))["assertion"])[1]


async def test_it_says_who_wants_whose_right_where_and_until_when() -> None:
    claims = await claims_of(subject="user@example.com")
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": "app", "sub": "user@example.com", "aud": TOKEN_URL, "iat": int(START), "exp": int(START) + 60,
    }  # fmt: skip


async def test_without_a_subject_it_is_its_own() -> None:
    assert (await claims_of())["sub"] == "app"


async def test_claims_are_added_and_go_before() -> None:
    claims = await claims_of(claims={"aud": "https://other.test", "scope": "a b", "roles": ["x", 1]})
    assert (claims["aud"], claims["scope"], claims["roles"], claims["iss"]) == (
        "https://other.test", "a b", ["x", 1], "app",
    )  # fmt: skip


async def test_no_two_are_the_same() -> None:
    assert (await claims_of())["jti"] != (await claims_of())["jti"]


async def test_its_header_names_algorithm_and_key() -> None:
    form = await JwtBearer().form(bearer(key_id="k1", algorithm="ES256"))
    assert parts(form["assertion"])[0] == {"alg": "ES256", "kid": "k1", "typ": "JWT"}


async def test_a_key_that_is_none_is_said() -> None:
    with pytest.raises(SecretError, match=r"^the configuration: the key is no PEM"):
        await JwtBearer().form(bearer(key="canary-x"))


async def test_another_subject_and_other_claims_are_other_owners() -> None:
    owners = [await JwtBearer().owner(bearer(**keys)) for keys in ({}, {"subject": "x"}, {"claims": {"a": 1}})]
    assert len({str(owner) for owner in owners}) == 3
