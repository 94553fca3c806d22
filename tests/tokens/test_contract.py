"""What every grant does. A grant brings nothing but an entry in `FORMS`."""

from __future__ import annotations

import pytest

from proxy import plugins
from proxy.errors import SecretError
from proxy.tokens import Grant

KEYS = {"username": "user-ä", "password": "pass word", "refresh_token": "first+/="}
FORMS = {
    "client_credentials": {"grant_type": "client_credentials"},
    "refresh_token": {"grant_type": "refresh_token", "refresh_token": "first+/="},
    "password": {"grant_type": "password", "username": "user-ä", "password": "pass word"},
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
    asked = []

    async def keys(key: str) -> str:
        asked.append(key)
        return KEYS[key]

    assert await grant.form(keys) == FORMS[grant.name]
    assert tuple(asked) == grant.needs


async def test_a_key_that_can_not_be_had_is_said(grant: Grant) -> None:
    async def keys(key: str) -> str:
        raise SecretError(f"the file of {key} can't be read")

    if grant.needs:
        with pytest.raises(SecretError, match=f"the file of {grant.needs[0]} can't be read"):
            await grant.form(keys)
