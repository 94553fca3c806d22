"""Texts that look like references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.secrets import meant

NAMED = '{ env = "API_TOKEN" }'
COMMAND = '{ command = ["PROGRAM", "ARGUMENT"] }'
KEYRING = '{ keyring = "SERVICE", username = "USER" }'


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("env:API_TOKEN", NAMED),
        (" env:API_TOKEN ", NAMED),
        ("env:api_token", '{ env = "api_token" }'),
        ("ENV:API_TOKEN", NAMED),
        ("env: API_TOKEN", NAMED),
        ("File:/x", '{ file = "PATH" }'),
        ("op://vault/item/field", '{ command = ["op", "read", "op://…"] }'),
        ("file:/run/secrets/x", '{ file = "PATH" }'),
        ("cmd:pass show x", COMMAND),
        ("command:pass show x", COMMAND),
        ("keyring:service/user", KEYRING),
        ('{ env = "API_TOKEN" }', '{ env = "NAME" }'),
        ('{"file": "/x"}', '{ file = "PATH" }'),
    ],
)
def test_some_are_references_wherever_they_stand(text: str, table: str) -> None:
    assert meant(text, substituted=True) == meant(text, substituted=False) == table


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("$API_TOKEN", NAMED),
        ("${API_TOKEN}", NAMED),
        ("${API_TOKEN:-none}", NAMED),
        ("${env:API_TOKEN}", NAMED),
        ("$env:API_TOKEN", NAMED),
        ("%API_TOKEN%", NAMED),
        ("{$API_TOKEN}", NAMED),
        ("{env.API_TOKEN}", NAMED),
        ("{{ API_TOKEN }}", NAMED),
        ("{{API_TOKEN}}", NAMED),
        ("${{ secrets.API_TOKEN }}", NAMED),
        ("$(pass show x)", COMMAND),
    ],
)
def test_others_only_where_users_may_expect_them_to_be_replaced(text: str, table: str) -> None:
    assert (meant(text, substituted=True), meant(text, substituted=False)) == (table, "")


def test_what_may_be_a_secret_after_all_is_not_repeated() -> None:
    for text in (
        "$c4n4ry",
        "${c4n4ry}",
        "$(c4n4ry)",
        "file:c4n4ry",
        "${NAME:-c4n4ry}",
        "keyring:c4n4ry",
        "env:a c4n4ry",
        "op://c4n4ry",
        "{{c4n4ry}}",
    ):
        found = meant(text, substituted=True)
        assert found
        assert "c4n4ry" not in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        "$$",
        "$1",
        "a$B",
        "$A$B",
        "%41",
        "%x",
        "%a b%",
        "environment",
        "env:",
        "file: ",
        "https://x",
        "{}",
        "{x}",
    ],
)
def test_what_is_none(text: str) -> None:
    assert meant(text, substituted=True) == ""


@given(st.text())
def test_any_text_is_one_or_none(text: str) -> None:
    assert meant(text, substituted=False) in ("", meant(text, substituted=True))
