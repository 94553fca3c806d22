"""What every grant does. A grant brings nothing but an entry in `FORMS`."""

from __future__ import annotations

from typing import Any

import pytest

from proxy import plugins
from proxy.errors import CredentialError, SecretError
from proxy.tokens import Grant
from tests.tokens.doubles import client, private_jwk

KEYS: dict[str, Any] = {
    "client_id": "id", "username": "user-ä", "password": "pass word", "refresh_token": "first+/=",
    "key": private_jwk(), "subject_token": "a.b.c",
}  # fmt: skip
# The fields of the request; None for a grant that wants a user.
FORMS: dict[str, dict[str, str | None] | None] = {
    "client_credentials": {"grant_type": "client_credentials"},
    "refresh_token": {"grant_type": "refresh_token", "refresh_token": "first+/="},
    "password": {"grant_type": "password", "username": "user-ä", "password": "pass word"},
    "authorization_code": None,
    "device_code": None,
    "jwt_bearer": {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": None},
    "token_exchange": {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "a.b.c",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    },
}
GRANTS = {grant.name: grant for grant in plugins.members("proxy.tokens", Grant)}


@pytest.fixture(params=list(FORMS))
def grant(request: pytest.FixtureRequest) -> Grant:
    return GRANTS[request.param]()


def test_every_grant_is_here() -> None:
    assert set(GRANTS) == set(FORMS)


def test_its_name_is_its_module(grant: Grant) -> None:
    assert type(grant).__module__ == f"proxy.tokens.{grant.name}"


async def test_its_form_names_it_and_holds_its_keys_and_no_others(grant: Grant) -> None:
    wanted = FORMS[grant.name]
    if wanted is None:
        with pytest.raises(CredentialError, match=r"^login needed: countersign login api$"):
            await grant.form(client(**KEYS))
        return
    form = await grant.form(client(**KEYS))
    assert form.keys() == wanted.keys()
    assert {key: value for key, value in form.items() if wanted[key] is not None} == {
        key: value for key, value in wanted.items() if value is not None
    }


async def test_a_key_that_can_not_be_had_is_said(grant: Grant) -> None:
    for key in grant.needs:
        for missing, says in (({"env": "NOT_SET"}, "NOT_SET is not set"), (None, f"{key} is not given")):
            with pytest.raises(SecretError, match=says):
                await grant.form(client(**{**KEYS, key: missing}))


async def test_its_owner_is_told_the_same_each_time(grant: Grant) -> None:
    assert await grant.owner(client(**KEYS)) == await grant.owner(client(**KEYS))
