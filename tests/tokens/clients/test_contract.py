"""What every way to authenticate a client does. A way brings nothing but an entry in `FIELDS`."""

from __future__ import annotations

from base64 import b64decode
from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy import plugins
from proxy.errors import SecretError
from proxy.tokens.clients import ClientAuthentication
from tests.doubles import START, FakeClock
from tests.tokens.doubles import TOKEN_URL, client, parts, private_jwk

CANARY = "canary-5d"
KEYS: dict[str, Any] = {
    "client_id": "id:1 ä", "client_secret": f"{CANARY} a+b/c%:", "key": private_jwk(),
    "tls": {"cert": "/c", "key": "/k"},
}  # fmt: skip
ASSERTION = {"client_id", "client_assertion_type", "client_assertion"}
# The form fields and the header fields.
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "basic": (set(), {"Authorization"}),
    "post": ({"client_id", "client_secret"}, set()),
    "none": ({"client_id"}, set()),
    "tls": ({"client_id"}, set()),
    "private_key_jwt": (ASSERTION, set()),
    "client_secret_jwt": (ASSERTION, set()),
}
WAYS = {way.name: way for way in plugins.members("proxy.tokens.clients", ClientAuthentication)}
RELAXED = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(params=list(FIELDS))
def way(request: pytest.FixtureRequest) -> ClientAuthentication:
    return WAYS[request.param]()


def test_every_way_is_here() -> None:
    assert set(WAYS) == set(FIELDS)


def test_its_name_is_its_module(way: ClientAuthentication) -> None:
    assert type(way).__module__ == f"proxy.tokens.clients.{way.name}"


async def test_its_fields_are_these(way: ClientAuthentication) -> None:
    form, headers = await way.identify(client(**KEYS))
    assert (set(form), set(headers)) == FIELDS[way.name]
    assert form.get("client_id", KEYS["client_id"]) == KEYS["client_id"]


async def test_only_where_it_is_sent_itself_the_secret_shows(way: ClientAuthentication) -> None:
    form, headers = await way.identify(client(**KEYS))
    assert (CANARY in str(form)) == (way.name == "post")
    assert CANARY not in str(headers)


async def test_a_key_that_can_not_be_had_is_said(way: ClientAuthentication) -> None:
    for key in way.needs:
        if key != "tls":
            with pytest.raises(SecretError, match="NOT_SET is not set"):
                await way.identify(client(**{**KEYS, key: {"env": "NOT_SET"}}))


# -- basic -----------------------------------------------------------------------------------------------------


async def test_basic_form_encodes_both_before_they_are_joined() -> None:
    _, headers = await WAYS["basic"]().identify(client(client_id="id:1 ä", client_secret="a+b/c%:"))
    assert b64decode(headers["Authorization"].removeprefix("Basic ")) == b"id%3A1+%C3%A4:a%2Bb%2Fc%25%3A"


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text == text.rstrip())


@RELAXED
@given(TEXT, TEXT)
async def test_basic_can_be_decoded_whatever_they_hold(client_id: str, secret: str) -> None:
    _, headers = await WAYS["basic"]().identify(client(client_id=client_id, client_secret=secret))
    pair = b64decode(headers["Authorization"].removeprefix("Basic ")).decode("ascii")
    assert tuple(map(unquote_plus, pair.split(":"))) == (client_id, secret)


# -- none ------------------------------------------------------------------------------------------------------


async def test_nobody_in_particular_has_no_name() -> None:
    assert await WAYS["none"]().identify(client(grant="token_exchange")) == ({}, {})


# -- assertions ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["private_key_jwt", "client_secret_jwt"])
def signing(request: pytest.FixtureRequest) -> ClientAuthentication:
    return WAYS[request.param]()


async def test_an_assertion_says_who_to_whom_and_until_when(signing: ClientAuthentication) -> None:
    form, _ = await signing.identify(client(**KEYS))
    header, claims = parts(form["client_assertion"])
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    assert header == {"alg": "ES256" if signing.name == "private_key_jwt" else "HS256", "typ": "JWT"}
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "iss": KEYS["client_id"], "sub": KEYS["client_id"], "aud": TOKEN_URL, "iat": int(START), "exp": int(START) + 60,
    }  # fmt: skip


async def test_an_assertion_is_for_one_request(signing: ClientAuthentication) -> None:
    made = [(await signing.identify(client(**KEYS)))[0]["client_assertion"] for _ in range(2)]
    assert parts(made[0])[1]["jti"] != parts(made[1])[1]["jti"]


async def test_an_assertion_is_as_young_as_its_request(signing: ClientAuthentication) -> None:
    form, _ = await signing.identify(client(FakeClock(START + 3600.9), **KEYS))
    assert parts(form["client_assertion"])[1]["iat"] == int(START) + 3600


async def test_an_issuer_is_what_a_server_is_called(signing: ClientAuthentication) -> None:
    form, _ = await signing.identify(client(**KEYS, issuer="https://issuer.test/t"))
    assert parts(form["client_assertion"])[1]["aud"] == "https://issuer.test/t"


async def test_claims_can_say_otherwise(signing: ClientAuthentication) -> None:
    form, _ = await signing.identify(client(**KEYS, claims={"aud": "https://x"}))
    assert parts(form["client_assertion"])[1]["aud"] == "https://x"


async def test_but_where_the_grant_is_a_jwt_they_are_its_own(signing: ClientAuthentication) -> None:
    form, _ = await signing.identify(client(**KEYS, grant="jwt_bearer", claims={"aud": "https://x"}, algorithm="ES256"))
    assert parts(form["client_assertion"])[1]["aud"] == TOKEN_URL


async def test_a_shared_secret_signs_by_hmac_only() -> None:
    with pytest.raises(SecretError, match="does not sign by ES256; right would be HS256"):
        await WAYS["client_secret_jwt"]().identify(client(**KEYS, algorithm="ES256"))
