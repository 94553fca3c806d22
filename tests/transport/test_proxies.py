"""What may stand under ``proxy`` and ``no_proxy``."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from proxy.transport.outgoing import Exemption
from proxy.transport.proxies import OutgoingProxy, ProxySettings, own_proxy


def parsed(value: Any) -> OutgoingProxy:
    proxy = ProxySettings.model_validate({"proxy": value}).proxy
    assert proxy is not None
    return proxy


@pytest.mark.parametrize(
    ("value", "text", "is_secret"),
    [
        ("", "none", False),
        ("none", "none", False),
        ("env", "env", False),
        ("http://proxy.test:3128/", "http://proxy.test:3128", False),
        ("http://user:s3cret-pass@proxy.test", "http://user:s3cret-pass@proxy.test", True),
        ({"env": "PROXY_URL"}, None, True),
    ],
)
async def test_a_text_or_a_secret(
    monkeypatch: pytest.MonkeyPatch, value: Any, text: str | None, is_secret: bool
) -> None:
    proxy = parsed(value)
    assert (proxy.text, proxy.is_secret) == (text, is_secret)
    assert "s3cret" not in f"{proxy!r} {proxy}"
    monkeypatch.setenv("PROXY_URL", "http://user:s3cret-word@proxy.test\n")
    assert await proxy.get() == (text or "http://user:s3cret-word@proxy.test")


@pytest.mark.parametrize("value", ["socks5://a", "proxy", "http://a/b", 7, ["http://a"], {"env": "A", "file": "b"}])
def test_what_is_neither(value: Any) -> None:
    with pytest.raises(ValidationError):
        parsed(value)


def test_two_that_mean_the_same_are_equal() -> None:
    assert parsed("") == parsed("none")
    assert parsed("http://a") == parsed("http://a/")
    assert parsed({"env": "A"}) == parsed({"env": "A"})
    assert parsed({"env": "A"}) != parsed({"env": "B"})
    assert parsed("http://a") != parsed("http://b")
    assert parsed("none") != "none"


def test_exemptions_are_a_list_or_words() -> None:
    wanted = (Exemption.parse("a.test"), Exemption.parse("10.0.0.0/8"))
    for value in (["a.test", "10.0.0.0/8"], "a.test,10.0.0.0/8"):
        assert ProxySettings.model_validate({"no_proxy": value}).no_proxy == wanted


def test_settings_go_to_another_process() -> None:
    settings = ProxySettings.model_validate({"proxy": "http://a", "no_proxy": ["b", "::/8"]})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert own_proxy(settings) is settings
    assert own_proxy("x") is None
