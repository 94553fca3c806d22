from __future__ import annotations

import math

import pytest

from proxy.stores import Token

FULL = Token(
    "access-canary", 1000.5, "refresh-canary", "read write", "DPoP", 900.0, "key-canary", refresh_with_scope=True
)


def test_it_shows_itself_masked() -> None:
    for text in (repr(FULL), str(FULL), f"{FULL}", repr([FULL])):
        assert "canary" not in text
        assert FULL.fingerprint in text
        assert "1000.5" in text
        assert "read write" in text


def test_its_fingerprint_is_the_start_of_the_hash() -> None:
    assert Token("abc", None).fingerprint == "ba7816bf"
    assert Token("\ud800", None).fingerprint == Token("\ud800", 1).fingerprint


def test_it_comes_back_from_json_as_it_was() -> None:
    for token in (FULL, Token("a", None)):
        assert Token.from_json(token.to_json()) == token


def test_what_json_leaves_out_has_its_default_and_what_is_unknown_is_ignored() -> None:
    assert Token.from_json({"access_token": "a", "later": [1]}) == Token("a", None)
    assert Token.from_json({"access_token": "a", "expires_at": 7}) == Token("a", 7.0)
    assert Token.from_json({"access_token": "a", "refresh_with_scope": "yes"}) == Token("a", None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": 77777},
        {"refresh_token": 77777},
        {"scope": ["77777"]},
        {"token_type": True},
        {"dpop_key": {"d": "77777"}},
        {"expires_at": "77777"},
        {"expires_at": True},
        {"expires_at": math.inf},
        {"expires_at": 10**400},
        {"obtained_at": math.nan},
        {"obtained_at": False},
    ],
)
def test_a_malformed_field_is_named_but_not_shown(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))) as caught:
        Token.from_json({"access_token": "canary"} | wrong)
    assert "canary" not in str(caught.value)
    assert "77777" not in str(caught.value)


def test_another_refresh_token_leaves_the_rest() -> None:
    assert FULL.with_refresh_token("new").to_json() == FULL.to_json() | {"refresh_token": "new"}
