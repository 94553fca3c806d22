"""Which of the keys ``proxy`` and ``no_proxy`` hold for a route, and for what a credential requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config import Settings, load
from proxy.errors import ConfigError

OWN = "http://own.test:1"
CLIENT = {
    "type": "oauth2", "grant": "client_credentials", "token_url": "https://token.test", "client_id": "c",
    "client_secret": "s3cret-of-the-client",
}  # fmt: skip


def settings(routes: dict[str, Any], credentials: dict[str, Any] | None = None, **top: Any) -> Settings:
    tables = {name: {"prefix": f"/{name}", "upstream": "https://api.test", **route} for name, route in routes.items()}
    overrides = {"tokens": {"store": "memory"}, "routes": tables, "credentials": credentials or {}, **top}
    return load(overrides=overrides, use_file=False)


async def test_routes_go_by_their_own_keys_or_by_those_at_the_top() -> None:
    routes: dict[str, Any] = {
        "plain": {},
        "own": {"proxy": OWN},
        "none": {"proxy": "none"},
        "empty": {"proxy": ""},
        "exempt": {"no_proxy": []},
    }
    found = (await settings(routes, proxy="http://top.test:1", no_proxy=["internal.test"]).outgoing()).routes
    assert {name: str(rules) for name, rules in found.items()} == {
        "plain": "http://top.test:1", "own": OWN, "none": "none", "empty": "none", "exempt": "http://top.test:1",
    }  # fmt: skip
    assert [len(found[name].exempt) for name in ("plain", "own", "exempt")] == [1, 1, 0]


async def test_without_any_key_there_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", OWN)
    found = await settings({"a": {"credential": CLIENT}}).outgoing()
    assert {str(rules) for rules in (*found.routes.values(), *found.credentials.values())} == {"none"}


async def test_credentials_go_by_their_own_key_then_by_their_routes_then_by_the_top() -> None:
    routes: dict[str, Any] = {
        "a": {"proxy": "http://route.test:1", "no_proxy": ["x.test", "y.test"], "credential": "used"},
        "b": {"proxy": "http://route.test:1", "no_proxy": ["x.test", "y.test"], "credential": "turns"},
        "c": {"proxy": "http://route.test:1", "credential": {**CLIENT, "proxy": OWN}},
        "d": {"proxy": "http://route.test:1", "credential": {**CLIENT, "no_proxy": []}},
    }
    credentials = {
        "used": CLIENT,
        "member": CLIENT,
        "own": {**CLIENT, "proxy": OWN},
        "idle": CLIENT,
        "turns": {"type": "rotate", "credentials": ["member", "own"]},
    }
    found = (await settings(routes, credentials, proxy="http://top.test:1", no_proxy=["z.test"]).outgoing()).credentials
    named = {name: (str(rules), len(rules.exempt)) for name, rules in found.items()}
    del named["turns"]
    assert named == {
        "used": ("http://route.test:1", 2), "member": ("http://route.test:1", 2), "own": (OWN, 1),
        "idle": ("http://top.test:1", 1), "routes.c": (OWN, 1), "routes.d": ("http://route.test:1", 0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("credential", "one", "other"),
    [
        ({}, {"proxy": OWN}, {}),
        ({}, {"proxy": "env"}, {"proxy": {"env": "PROXY"}}),
        ({}, {"proxy": OWN}, {"proxy": OWN, "no_proxy": ["internal.test"]}),
        ({"no_proxy": []}, {"proxy": OWN}, {"proxy": "http://other.test"}),
    ],
)
def test_routes_that_differ_make_the_credential_need_its_own(
    credential: dict[str, Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    credentials = {"shared": {**CLIENT, **credential}, "turns": {"type": "fallback", "credentials": "shared, none"}}
    routes = {"a": {**one, "credential": "shared"}, "b": {**other, "credential": "turns"}}
    with pytest.raises(ConfigError) as caught:
        settings(routes, credentials)
    assert str(caught.value) == (
        "command line: credentials.shared.proxy: is missing, and routes.a and routes.b have different ones; "
        'expected "http://proxy.example.com:3128", "env" or "none"'
    )
    credentials["shared"]["proxy"] = "none"
    settings(routes, credentials)


@pytest.mark.parametrize(
    ("credential", "one", "other"),
    [
        (CLIENT, {"proxy": "none", "no_proxy": ["a.test"]}, {}),
        (CLIENT, {"proxy": OWN}, {"proxy": f"{OWN}/"}),
        ({**CLIENT, "no_proxy": []}, {"proxy": OWN}, {"proxy": OWN, "no_proxy": ["internal.test"]}),
        ({"type": "bearer", "token": "s3cret-token"}, {"proxy": OWN}, {}),
        ({"type": "python", "class": "httpx:BasicAuth", "username": "u", "password": "p"}, {"proxy": OWN}, {}),
    ],
)
def test_others_need_none(credential: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> None:
    settings({"a": {**one, "credential": "c"}, "b": {**other, "credential": "c"}}, {"c": credential})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "proxy: the environment variable PROXY_URL is not set"),
        ("s3cret ftp://x", 'proxy: the environment variable PROXY_URL holds no proxy; expected "http://proxy.'),
    ],
)
async def test_a_url_that_can_not_be_had_is_said(monkeypatch: pytest.MonkeyPatch, value: str | None, says: str) -> None:
    if value is not None:
        monkeypatch.setenv("PROXY_URL", value)
    secret = {"env": "PROXY_URL"}
    for found, path in (
        (settings({"a": {}}, proxy=secret), ""),
        (settings({"a": {"proxy": secret}}), "routes.a."),
        (settings({"a": {}}, {"c": {**CLIENT, "proxy": secret}}), "credentials.c."),
        (settings({"a": {"credential": {**CLIENT, "proxy": secret}}}), "routes.a.credential."),
    ):
        with pytest.raises(ConfigError) as caught:
            await found.outgoing()
        assert str(caught.value).startswith(path + says)
        assert "s3cret" not in str(caught.value)
        assert [(".".join(key)) for key, _ in found.secrets() if key[-1] == "proxy"] == [f"{path}proxy"]


async def test_a_proxy_of_the_environment_of_another_kind_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://x")
    with pytest.raises(ConfigError, match=r"^routes\.a\.proxy: the environment's proxy for https is socks5://"):
        await settings({"a": {"proxy": "env"}}).outgoing()


def test_a_password_stands_in_no_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "countersign.toml"
    text = 'proxy = "{}"\n[routes.a]\nupstream = "https://api.test"\n'
    path.write_text(text.format("http://proxy.test"))
    path.chmod(0o644)
    load(path)
    path.write_text(text.format("http://user:pass@proxy.test"))
    with pytest.raises(ConfigError, match=r"countersign.toml:1: proxy: a secret stands in a file that others can read"):
        load(path)


def test_variables_set_both_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERSIGN_PROXY", OWN)
    monkeypatch.setenv("COUNTERSIGN_NO_PROXY", "a.test, 10.0.0.0/8")
    found = settings({"a": {}})
    assert found.proxy is not None
    assert (found.proxy.text, len(found.no_proxy)) == (OWN, 2)
