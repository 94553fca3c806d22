"""The keys of an OAuth2 client that can be judged alone; what goes together is judged in test_oauth2.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from proxy.tokens.settings import check_url
from tests.tokens.doubles import TOKEN_URL, settings

URLS = ("issuer", "token_url", "authorization_url", "device_authorization_url")
CANARY = "canary-0e"


@pytest.mark.parametrize("key", URLS)
@pytest.mark.parametrize(
    ("url", "says"),
    [("http://x.test/", "is plain http beyond this machine; right would be https, or insecure = true"),
     (f"https://u:{CANARY}@x.test/", "holds a user or password; right would be client_id and client_secret"),
     ("https://x.test:99999/", "has a port that there is not"), ("https://[::1/", "is not a URL")],
)  # fmt: skip
def test_a_url_that_no_secret_may_be_sent_to_is_named(key: str, url: str, says: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} {says}") as caught:
        settings(**{key: url})
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("url", ["https://x.test", "https://x.test/a?b=c", "http://localhost:1", "http://[::1]:1/"])
def test_others_will_do(url: str) -> None:
    check_url("x", url, insecure=False)


@pytest.mark.parametrize(
    "url", ["", "x", "/a", "ftp://x.test", "https:///a", "https://[", "https://a b/", "https://a/#b"]
)
def test_what_is_no_url_is_none_of_them(url: str) -> None:
    with pytest.raises(ValueError, match=r"x is not a URL"):
        check_url("x", url, insecure=True)


@pytest.mark.parametrize(
    ("keys", "says"),
    [({"issuer": "https://x.test/?a=b"}, "issuer has a query"),
     ({"tls": {"verify": False}}, "tls.verify = false also needs insecure = true"),
     ({"algorithm": "none"}, "RS256"), ({"claims": {"a": object()}}, "claims")],
)  # fmt: skip
def test_mistakes_are_said(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        settings(**keys)


def test_who_wants_it_may_do_without_verification() -> None:
    assert not settings(tls={"verify": False}, insecure=True).tls.verify


def test_a_server_is_named_by_its_issuer_if_there_is_one() -> None:
    assert settings().server == TOKEN_URL
    assert settings(issuer="https://x.test").server == "https://x.test"
    assert settings(token_url=None).server == ""


def test_what_a_token_is_for() -> None:
    assert settings().wishes() == []
    assert settings(scope=["a", "b"], audience="c", resource=["https://d", "https://e"]).wishes() == [
        ("scope", "a b"), ("audience", "c"), ("resource", "https://d"), ("resource", "https://e"),
    ]  # fmt: skip
