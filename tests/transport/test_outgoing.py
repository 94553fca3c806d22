"""Which outgoing proxy leads where: tables of what is decided."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ConfigError
from proxy.transport.outgoing import DIRECT, Exemption, ProxyRules, parse_proxy, rules, shown

PROXY = httpx.URL("http://proxy.test:3128")
OTHER = httpx.URL("http://other.test:3128")
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def proxy_for(rules: ProxyRules, url: str) -> httpx.URL | None:
    return rules.proxy_for(httpx.URL(url))


@pytest.mark.parametrize("setting", ["", "none"])
def test_none_is_none_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert rules(setting) == DIRECT
    assert proxy_for(DIRECT, "https://api.test") is None


@pytest.mark.parametrize("url", ["https://api.test/x", "http://api.test", "https://10.1.2.3", "https://[2001:db8::1]"])
def test_a_url_leads_everywhere(url: str) -> None:
    assert proxy_for(rules("http://proxy.test:3128"), url) == PROXY


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "api.localhost", "127.0.0.1", "127.9.9.9", "127.1", "2130706433",
        "0x7f.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "169.254.169.254", "[::ffff:a9fe:a9fe]",
        "[fd00:ec2::254]", "metadata.google.internal", "Metadata.Google.Internal.", "169.254.170.2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_this_machine_and_its_metadata_are_never_reached_through_a_proxy(host: str, scheme: str) -> None:
    assert proxy_for(ProxyRules(PROXY, PROXY), f"{scheme}://{host}:8443/x") is None


@pytest.mark.parametrize(
    ("entry", "url", "covered"),
    [
        ("example.com", "https://example.com", True),
        ("example.com", "https://API.Example.com.", True),
        ("example.com", "https://badexample.com", False),
        ("example.com", "https://example.com.evil.test", False),
        (".example.com", "https://a.b.example.com", True),
        (".example.com", "https://example.com", True),
        ("*.example.com", "https://a.example.com", True),
        ("EXAMPLE.com.", "https://example.com", True),
        ("münchen.test", "https://www.xn--mnchen-3ya.test", True),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("example.com:80", "http://example.com", True),
        ("*", "https://anything.test", True),
        ("10.0.0.0/8", "https://10.255.0.1", True),
        ("10.0.0.7/8", "https://10.255.0.1", True),
        ("10.0.0.0/8", "https://11.0.0.1", False),
        ("10.0.0.0/8", "https://10.test", False),
        ("192.168.1.7", "https://192.168.1.7", True),
        ("192.168.1.7:8443", "https://192.168.1.7", False),
        ("192.168.1.7", "https://192.168.1.70", False),
        ("192.168.0.0/16", "https://[::ffff:192.168.1.1]", True),
        ("2001:db8::/32", "https://[2001:db8::1]:8443", True),
        ("[2001:db8::1]", "https://[2001:db8::1]", True),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", True),
        ("[2001:db8::1]:8443", "https://[2001:db8::1]", False),
        ("2001:db8::/32", "https://10.0.0.1", False),
        ("fe80::/10", "https://example.com", False),
    ],
)
def test_exemptions(entry: str, url: str, covered: bool) -> None:
    assert proxy_for(ProxyRules(PROXY, PROXY, (Exemption.parse(entry),)), url) == (None if covered else PROXY)


@pytest.mark.parametrize("entry", ["", " ", "a b", "http://x", "x/y", "10.0.0.0/33", "[::1", "a..b", "x:y", 7, None])
def test_what_is_no_exemption(entry: object) -> None:
    with pytest.raises(ValueError, match=r'expected "example\.com", "10\.0\.0\.0/8" or "\*"'):
        Exemption.parse(entry)


@given(st.text())
def test_any_text_is_an_exemption_or_a_value_error(text: str) -> None:
    try:
        Exemption.parse(text)
    except ValueError as failure:
        assert "expected" in str(failure)  # noqa: PT017  # one of two outcomes


# -- the environment -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", ["http://proxy.test:3128", "proxy.test:3128", "HTTP://proxy.test:3128/"])
def test_the_environment_is_read_as_other_programs_read_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert proxy_for(rules("env"), "https://api.test") == PROXY


def test_each_scheme_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rules("env") == DIRECT
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    assert proxy_for(rules("env"), "http://api.test") is None
    monkeypatch.setenv("all_proxy", "other.test:3128")
    assert proxy_for(rules("env"), "http://api.test") == OTHER
    assert proxy_for(rules("env"), "https://api.test") == PROXY
    monkeypatch.setenv("https_proxy", "http://other.test:3128")
    assert proxy_for(rules("env"), "https://api.test") == OTHER


def test_under_cgi_a_field_of_the_client_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test:3128")
    assert proxy_for(rules("env"), "http://api.test") == PROXY
    monkeypatch.setenv("REQUEST_METHOD", "GET")
    assert proxy_for(rules("env"), "http://api.test") is None


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_the_environments_exemptions_are_added(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    monkeypatch.setenv(name, "what/is/this, .corp.test 10.0.0.0/8")
    found = rules("env", [Exemption.parse("own.test")])
    direct = ["https://a.corp.test", "https://10.1.1.1", "https://own.test"]
    assert [proxy_for(found, url) for url in [*direct, "https://api.test"]] == [None, None, None, PROXY]


@pytest.mark.parametrize("value", ["socks5://user:hush@proxy.test", "https://user:hush@proxy.test"])
def test_another_kind_of_proxy_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(ConfigError, match=rf"proxy for http is {value.partition(':')[0]}://; expected http://$"):
        rules("env")


def test_what_is_no_url_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "user:hu sh@proxy.test")
    with pytest.raises(ConfigError, match=r"proxy for https is not a URL; expected http://HOST:PORT$") as caught:
        rules("env")
    assert caught.value.__context__ is None


# -- what may be written, and shown ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["proxy.test", "https://proxy.test", "http://", "http://a/b", "http://a?b", "http://a:0", "http://a:99999",
     "http://a b", "http://user:p#ss@a", "http://[::1"],
)  # fmt: skip
def test_what_is_no_proxy(text: str) -> None:
    with pytest.raises(ValueError, match=r'not a proxy; expected "http://proxy\.example\.com:3128", "env" or "none"'):
        parse_proxy(text)


def test_nothing_shows_a_password() -> None:
    found = rules("http://user:hush@proxy.test:3128/")
    assert (str(found), shown(httpx.URL("http://u@[::1]:1"))) == ("http://***@proxy.test:3128", "http://***@[::1]:1")
    assert "hush" not in repr(found)
    assert str(DIRECT) == "none"
    assert str(ProxyRules(OTHER, PROXY)) == "http://proxy.test:3128, http://other.test:3128"
