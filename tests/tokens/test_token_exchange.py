"""Somebody's token for another one."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.keys import SigningKey
from proxy.tokens import Client
from proxy.tokens.token_exchange import TokenExchange
from tests.tokens.doubles import client

JWT = "urn:ietf:params:oauth:token-type:jwt"


def exchange(**keys: Any) -> Client:
    return client(**{"grant": "token_exchange", "subject_token": "s", **keys})


async def test_an_actor_and_another_type_are_asked_for() -> None:
    form = await TokenExchange().form(
        exchange(subject_token_type=JWT, actor_token="a", requested_token_type="urn:example:cookie")
    )
    assert form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "s",
        "subject_token_type": JWT,
        "actor_token": "a",
        "actor_token_type": JWT,
        "requested_token_type": "urn:example:cookie",
    }


def jwt(**claims: Any) -> str:
    return SigningKey.shared("x").sign(claims)


async def owner(**keys: Any) -> list[str]:
    return await TokenExchange().owner(exchange(**keys))


async def test_a_workload_s_token_that_is_written_anew_is_the_same_owner_s() -> None:
    first = await owner(subject_token=jwt(iss="k8s", sub="pod", iat=1, exp=2))
    assert await owner(subject_token=jwt(iss="k8s", sub="pod", iat=3, exp=4)) == first
    assert await owner(subject_token=jwt(iss="k8s", sub="other", iat=1, exp=2)) != first
    assert await owner(subject_token=jwt(iss="other", sub="pod", iat=1, exp=2)) != first


@pytest.mark.parametrize("token", ["opaque", "a.b.c", "..", "a.ZQ.c", "a." + "W" * 9000 + ".c", jwt(iss="nobody")])
async def test_of_any_other_token_all_counts(token: str) -> None:
    assert (await owner(subject_token=token))[0] == token


async def test_another_actor_or_type_is_another_owner() -> None:
    owners = [await owner(**keys) for keys in ({}, {"actor_token": "a"}, {"requested_token_type": JWT})]
    assert len({str(each) for each in owners}) == 3
