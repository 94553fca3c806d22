"""What a server may repeat."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from proxy.secrets import parse_secret
from proxy.tokens._secrets import names_secret, received, secret_values, sent


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("client_secret", True), ("refresh_token", True), ("code", True), ("code_verifier", True), ("password", True),
     ("client_assertion", True), ("assertion", True), ("subject_token", True), ("device_code", True), ("api_key", True),
     ("X-Auth", True), ("client_assertion_type", False), ("subject_token_type", False), ("grant_type", False),
     ("requested_token_type", False), ("scope", False), ("audience", False), ("resource", False), ("client_id", False),
     ("username", False), ("redirect_uri", False), ("tenant", False)],
)  # fmt: skip
def test_a_name_says_whether_it_holds_a_secret(name: str, is_secret: bool) -> None:
    assert names_secret(name) is is_secret


def test_what_was_sent() -> None:
    form = [("grant_type", "x"), ("refresh_token", "r"), ("client_secret", ""), ("scope", "s"), ("code", "c")]
    assert [*sent(form, {})] == ["r", "c"]
    encoded = b64encode(b"app:a%2Bb").decode()
    assert [*sent([], {"authorization": f"Basic {encoded}", "DPoP": "p", "Accept": "x", "X-Key": "k"})] == [
        encoded, "a%2Bb", "a+b", "p", "k",
    ]  # fmt: skip
    assert [*sent([], {"Authorization": "Bearer ä"})] == ["ä"]
    assert [*sent([], {"Authorization": "plain"})] == ["plain"]
    assert [*sent([], {"Authorization": f"Basic {b64encode(b'app').decode()}"})] == [b64encode(b"app").decode()]


def test_what_was_received() -> None:
    table = {"access_token": "a", "refresh_token": "r", "id_token": 7, "device_code": "d", "error": "e", "scope": "s"}
    assert received(table) == ["a", "r", "d"]


async def test_what_is_configured(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("from a file")
    sources = {
        "client_id": "literal", "client_secret": "s3cret", "username": {"file": str(tmp_path / "id")},
        "password": {"file": str(tmp_path / "missing")},
    }  # fmt: skip
    assert await secret_values((key, parse_secret(value)) for key, value in sources.items()) == [
        "s3cret",
        "from a file",
    ]
