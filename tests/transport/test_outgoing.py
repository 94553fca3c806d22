"""Which outgoing proxy leads to an upstream."""

from __future__ import annotations

import httpx
import pytest

from proxy.errors import ConfigError
from proxy.transport.outgoing import outgoing_proxy

UPSTREAM = httpx.URL("https://api.test")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_none_is_the_default_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert outgoing_proxy("", UPSTREAM) is None


def test_a_url_is_taken_as_it_is() -> None:
    assert outgoing_proxy("http://proxy.test:3128", UPSTREAM) == httpx.URL("http://proxy.test:3128")


@pytest.mark.parametrize("said", ["http://proxy.test:3128", "proxy.test:3128"])
def test_the_environment_is_asked_if_that_is_said(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    assert outgoing_proxy("env", UPSTREAM) is None
    monkeypatch.setenv("HTTPS_PROXY", said)
    assert outgoing_proxy("env", UPSTREAM) == httpx.URL("http://proxy.test:3128")
    assert outgoing_proxy("env", httpx.URL("http://api.test")) is None


def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", ".test")
    assert outgoing_proxy("env", UPSTREAM) is None


def test_another_kind_of_proxy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:hush@proxy.test")
    with pytest.raises(ConfigError, match="socks5") as caught:
        outgoing_proxy("env", UPSTREAM)
    assert "hush" not in str(caught.value)
