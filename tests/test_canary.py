"""The law that no secret shows can fail."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest

from proxy.demo import accounts
from tests.canary import shown


@pytest.mark.parametrize(
    "text",
    [
        f"token={accounts.BEARER_TOKEN}",
        accounts.PASSWORD.encode().hex(),
        b64encode(f"{accounts.USERNAME}:{accounts.PASSWORD}".encode()).decode(),
        quote(accounts.CLIENT_SECRET, safe=""),
        "the s3cret",
    ],
)
def test_a_secret_is_seen_in_any_form(text: str) -> None:
    assert shown(f"before {text} after")


def test_other_texts_are_not_secrets() -> None:
    assert shown("200 GET /a [demo] 3ms the environment variable API_TOKEN is not set") is None
