"""What would be sent, without sending anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cli import explain
from tests.credentials.keys import PEM

from .conftest import Ended, Run

CANARY = "c4n4ry"

CONFIG = """
[tokens]
store = "memory"
[routes.plain]
upstream = "http://127.0.0.1:1/base"
[routes.narrow]
prefix = "/narrow"
upstream = "http://127.0.0.1:1"
allow = ["GET /x/**"]
[routes.hosted]
host = "hosted.localhost"
upstream = "http://127.0.0.1:1/hosted"
[routes.own]
listen = "127.0.0.1:9"
upstream = "http://127.0.0.1:1/own"
"""
KINDS = {
    "bearer": 'type = "bearer"\ntoken = "c4n4ry"',
    "basic": 'type = "basic"\nusername = "u"\npassword = "c4n4ry"',
    "header": 'type = "api_key"\nname = "X-Key"\nvalue = "c4n4ry"\nprefix = "Token "',
    "query": 'type = "api_key"\nin = "query"\nname = "key"\nvalue = "c4n4ry"',
    "cookie": 'type = "api_key"\nin = "cookie"\nname = "key"\nvalue = "c4n4ry"',
    "hmac": 'type = "hmac"\nkey_id = "me"\nsecret = "c4n4ry"\n'
    'string_to_sign = "{method}|{target}|{body_hash}|{secret}"\nheaders = { X-Signature = "{key_id}:{signature}" }',
    "oauth2": 'type = "oauth2"\ngrant = "client_credentials"\ntoken_url = "http://127.0.0.1:1/t"\nclient_id = "x"\n'
    'client_secret = "c4n4ry"',
    "missing": 'type = "bearer"\ntoken = { env = "NO_SUCH_VARIABLE" }',
    "python": 'type = "python"\nclass = "httpx:BasicAuth"\nusername = "x"\npassword = "c4n4ry"',
}  # fmt: skip


@pytest.fixture
def explained(run: Run, config: Callable[[str], str]) -> Callable[..., Ended]:
    text = CONFIG + "".join(
        f'[routes.{kind}]\nprefix = "/{kind}"\nupstream = "http://127.0.0.1:1"\ncredential = "{kind}"\n'
        f"[credentials.{kind}]\n{keys}\n"
        for kind, keys in KINDS.items()
    )
    path = config(text)

    def explained(*arguments: str) -> Ended:
        found = run("explain", "--config", path, *arguments)
        assert CANARY not in found.out + found.err
        return found

    return explained


Explained = Callable[..., Ended]


def test_a_path(explained: Explained) -> None:
    found = explained("get", "/a%2Fb?x=1&y", "-H", "Accept: text/plain", "-H", "Connection: close")
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines() == [
        "route: plain",
        "credential: none",
        "",
        "GET http://127.0.0.1:1/base/a%2Fb?x=1&y",
        "Host: 127.0.0.1:1",
        "Accept: text/plain",
    ]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://localhost:8080/x?y=1", "http://127.0.0.1:1/base/x?y=1"),
        ("http://localhost:8080", "http://127.0.0.1:1/base/"),
        ("http://hosted.localhost:8080/x", "http://127.0.0.1:1/hosted/x"),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:1/own/x"),
    ],
)
def test_the_proxy_s_whole_url(explained: Explained, url: str, sent: str) -> None:
    assert f"GET {sent}\n" in explained("GET", url).out


@pytest.mark.parametrize(("method", "sent"), [("get", "GET"), ("LIST", "LIST"), ("a!b", "a!b")])
def test_any_method_may_be_asked_for(explained: Explained, method: str, sent: str) -> None:
    assert f"\n{sent} http://" in explained(method, "/a").out


def test_a_host_that_the_client_gives(explained: Explained) -> None:
    assert "GET http://127.0.0.1:1/hosted/x\n" in explained("GET", "/x", "-H", "Host: hosted.localhost").out


def test_a_body(explained: Explained, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"12345")
    found = explained("POST", "/x", "-d", f"@{tmp_path / 'body'}")
    assert "Content-Length: 5\n" in found.out
    assert "(5 bytes of body)" in found.out
    assert "Content-Length: 3\n" in explained("POST", "/x", "-d", "123").out
    assert "Content-Length: 4\n" in explained("POST", "/x", "-d", "1234", "-H", "Content-Length: 4").out


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bearer", "Authorization: Bearer ***"),
        ("basic", "Authorization: Basic ***"),
        ("header", "X-Key: Token ***"),
        ("query", "GET http://127.0.0.1:1/x?key=***"),
        ("cookie", "Cookie: key=***"),
        ("oauth2", "Authorization: Bearer ***"),
        ("python", "httpx:BasicAuth is asked when a request is sent"),
    ],
)
def test_credentials_are_masked(explained: Explained, kind: str, text: str) -> None:
    found = explained("GET", f"/{kind}/x")
    assert (found.code, found.err) == (0, "")
    assert text in found.out


def test_oauth2_fetches_nothing_and_says_from_where_it_would(explained: Explained) -> None:
    assert "from http://127.0.0.1:1/t by client_credentials" in explained("GET", "/oauth2/x").out


def test_what_a_client_sends_is_masked_where_it_may_be_secret(explained: Explained) -> None:
    found = explained("GET", "/x", "-H", f"Cookie: a={CANARY}", "-H", "Accept: a")
    assert "Cookie: ***" in found.out


def test_a_signature_and_the_exact_string_that_is_signed(explained: Explained) -> None:
    found = explained("POST", "/hmac/x?y=1", "-d", "body", "--json")
    told = json.loads(found.out)
    body_hash = "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5"
    assert told["string_to_sign"] == f"POST|/x?y=1|{body_hash}|***"
    assert re.fullmatch("[0-9a-f]{64}", told["signature"])
    assert ["X-Signature", f"me:{told['signature']}"] in told["headers"]
    assert (told["route"], told["credential"], told["body_bytes"]) == ("hmac", "hmac", 4)
    lines = explained("POST", "/hmac/x?y=1", "-d", "body").out.splitlines()
    assert lines[lines.index("string to sign:") + 1] == f"  POST|/x?y=1|{body_hash}|***"


def test_what_the_policy_refuses(explained: Explained) -> None:
    found = explained("DELETE", "/narrow/x")
    assert (found.code, found.err) == (1, "")
    assert found.out.startswith("not sent: 403 http_request_denied: ")
    told = json.loads(explained("DELETE", "/narrow/x", "--json").out)
    assert (told["status"], told["error"]) == (403, "http_request_denied")
    assert explained("GET", "/narrow/x/y").code == 0


@pytest.mark.parametrize(("url", "status"), [("relative", 400), ("/a/../b", 400), ("http://evil.example.com/", 421)])
def test_what_the_guard_refuses(explained: Explained, url: str, status: int) -> None:
    found = explained("GET", url)
    assert found.code == 1
    assert found.out.startswith(f"not sent: {status} ")


def test_a_secret_that_is_missing(explained: Explained) -> None:
    found = explained("GET", "/missing/x")
    assert found.code == 1
    assert "the environment variable NO_SUCH_VARIABLE is not set" in found.out


def test_a_stranger_s_failure_is_told_by_its_kind(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, request: object) -> dict[str, str]:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("proxy.credentials.python.PythonScheme.explain", fail)
    found = explained("GET", "/python/x")
    assert (found.code, "RuntimeError" in found.out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["GET", "/", "-H", CANARY], "-H: right would be 'NAME: VALUE'"),
        (["GET", "/", "-d", "@/nowhere"], "-d: /nowhere can't be read: No such file or directory"),
        (["GET", "http://[::1/"], "URL: right would be a path"),
        (["GET", "http://localhost:x/"], "URL: right would be a path"),
    ],
)
def test_wrong_arguments(explained: Explained, arguments: list[str], text: str) -> None:
    found = explained(*arguments)
    assert (found.code, found.out) == (2, "")
    assert text in found.err


def test_the_fields_that_may_be_secret() -> None:
    assert explain._shown("Authorization", "Bearer x") == "Bearer ***"
    assert explain._shown("Accept", "x") == "x"


PROXIES = """
proxy = "http://user:c4n4ry@proxy.test:3128"
[tokens]
store = "memory"
[routes.far]
upstream = "https://api.test"
[routes.near]
prefix = "/near"
upstream = "http://127.0.0.1:1"
credential = "own"
[routes.none]
prefix = "/none"
upstream = "https://api.test"
credential = { type = "bearer", token = "c4n4ry" }
proxy = "none"
[credentials.own]
type = "github_app"
app_id = 1
installation_id = 2
key = { file = "key.pem" }
proxy = "http://own.test:3128"
"""


def test_outgoing_proxies_are_named_without_their_passwords(run: Run, config: Callable[[str], str]) -> None:
    path = config(PROXIES)
    Path("key.pem").write_text(PEM)
    told = {}
    for route in ("far", "near", "none"):
        found = run("explain", "--config", path, "GET", f"/{route}", "--json")
        assert CANARY not in found.out
        told[route] = [json.loads(found.out)[key] for key in ("proxy", "credential_proxy")]
    shown = "http://***@proxy.test:3128"
    assert told == {"far": [shown, None], "near": [None, "http://own.test:3128"], "none": [None, None]}
    text = run("explain", "--config", path, "GET", "/near").out
    assert "\noutgoing proxy of the credential's requests: http://own.test:3128\n" in text
    assert "outgoing proxy:" not in text
    checked = run("check", "--config", path)
    assert [line.split()[4:] for line in checked.out.splitlines()] == [
        ["PROXY"], [shown], ["none;", "credential:", "http://own.test:3128"], ["(inline)"],
    ]  # fmt: skip
