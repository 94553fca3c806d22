"""Is the configuration right, can every secret be had, does it work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import http_parser

import proxy
from proxy import demo
from proxy.cli import check
from proxy.cli.check import Row, ambiguous, asked_paths, checked, lasting, table, unresolved
from proxy.config import Settings, load
from proxy.demo import DemoServer, accounts
from proxy.gateway import server
from tests.credentials.keys import PEM, key_file
from tests.doubles import raw_server, read_head

from .conftest import Run

Config = Callable[[str], str]


@pytest.fixture
async def api() -> AsyncIterator[DemoServer]:
    async with await demo.start() as server:
        yield server


def settings(routes: dict[str, Any], credentials: dict[str, Any] | None = None) -> Settings:
    credentials = credentials or {}
    return load(
        overrides={"tokens": {"store": "memory"}, "retry": {"attempts": 1}, "routes": routes,
                   "credentials": credentials},
        use_file=False,
    )  # fmt: skip


# -- without any network -----------------------------------------------------------------------------------

TWO = """
[tokens]
store = "memory"
[routes.api]
prefix = "/api"
upstream = "https://api.example.com/v1"
credential = "key"
[routes.open]
host = "open.localhost"
upstream = "https://open.example.com"
credential = { type = "bearer", token = { env = "T0K3N" } }
[credentials.key]
type = "bearer"
token = { command = ["echo", "c4n4ry"] }
"""


def test_lines_of_the_dotenv_file_that_are_ignored(
    run: Run, config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    dotenv = tmp_path / ".env"
    dotenv.touch(0o600)
    dotenv.write_text("T0K3N=c4n4ry\nexport the c4n4ry\n")
    found = run("check", "--config", config(TWO))
    assert found.code == 0
    assert "warning: .env:2: is ignored; expected NAME=VALUE\n" in found.err


def test_a_table_of_routes(run: Run, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T0K3N", "c4n4ry")
    path = config(TWO)
    found = run("check", "--config", path)
    assert (found.code, found.err) == (0, f"configuration: {path}\n")
    assert [line.split() for line in found.out.splitlines()] == [
        ["ROUTE", "MATCHES", "UPSTREAM", "CREDENTIAL"],
        ["api", "/api/", "https://api.example.com/v1", "key"],
        ["open", "open.localhost", "/", "https://open.example.com", "bearer", "(inline)"],
    ]


def test_a_missing_parser_is_a_warning(run: Run, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T0K3N", "c4n4ry")
    monkeypatch.setattr(server, "HttpRequestParser", http_parser.HttpRequestParserPy)
    found = run("check", "--config", config(TWO))
    assert found.code == 0
    assert "\nwarning: aiohttp runs without its C parser; expected " in found.err


def test_a_secret_that_can_not_be_had_is_a_failure(run: Run, config: Config) -> None:
    path = config(TWO)
    found = run("check", "--config", path)
    assert found.code == 1
    assert (
        found.err
        == f"configuration: {path}\nerror: routes.open.credential.token: the environment variable T0K3N is not set\n"
    )
    assert "c4n4ry" not in found.out


def test_the_result_as_json(run: Run, config: Config) -> None:
    path = config(TWO)
    found = run("check", "--json", "--config", path)
    assert found.code == 1
    result = json.loads(found.out)
    assert result["files"] == [path]
    assert result["secrets"] == ["routes.open.credential.token: the environment variable T0K3N is not set"]
    assert result["routes"][0] == {
        "route": "api", "matches": "/api/", "upstream": "https://api.example.com/v1", "credential": "key",
        "result": "", "ok": True, "scope": None, "expires_in": None,
        "proxy": None, "credential_proxy": None,
    }  # fmt: skip


async def test_every_secret_is_resolved() -> None:
    found = settings(
        {"a": {"upstream": "https://x"}},
        {"a": {"type": "basic", "username": {"env": "NO_SUCH_NAME"}, "password": {"file": "/nowhere"}}},
    )
    assert await unresolved(found) == [
        "credentials.a.username: the environment variable NO_SUCH_NAME is not set",
        "credentials.a.password: the file /nowhere can't be read: No such file or directory",
    ]


OAUTH2 = {"type": "oauth2", "token_url": "https://token.test/", "client_id": "c", "client_auth": "private_key_jwt"}
GITHUB = {"type": "github_app", "app_id": 1, "installation_id": 2}
WRONG_KEYS: dict[str, tuple[dict[str, Any], str]] = {
    "jwt": ({"type": "jwt"}, "{}: the key is no PEM; expected a private key"),
    "jwt by algorithm": ({"type": "jwt", "algorithm": "RS256"}, "{}: the key is no PEM; expected a private key"),
    "github_app": (GITHUB, "{}: the key is no PEM; expected a private key"),
    "private_key_jwt": ({**OAUTH2, "grant": "client_credentials"}, "{}: the key is no PEM; expected a private key"),
    "jwt_bearer": ({**OAUTH2, "grant": "jwt_bearer", "client_auth": "none"}, "{}: the key is no PEM; expected"),
}


@pytest.mark.parametrize("name", WRONG_KEYS)
@pytest.mark.parametrize("text", ["this is no key", "-----BEGIN PRIVATE KEY-----\nc4n4ry\n-----END PRIVATE KEY-----\n"])
async def test_a_key_that_is_no_key_is_told(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / "key.pem"
    file.write_text(text)
    keys, says = WRONG_KEYS[name]
    found = settings({"a": {"upstream": "https://x"}}, {"c": {**keys, "key": {"file": str(file)}}})
    (problem,) = await unresolved(found)
    assert problem.startswith(f"credentials.c.key: {says.format(f'the file {file}')}")
    assert "c4n4ry" not in problem
    inline = settings({"a": {"upstream": "https://x", "credential": {**keys, "key": {"file": str(file)}}}})
    assert (await unresolved(inline))[0].startswith("routes.a.credential.key: ")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"type": "jwt", "algorithm": "ES256"}, "the key does not sign by ES256; right would be RS256 or"),
        ({"type": "jwt", "algorithm": "HS256"}, "the key does not sign by HS256; right would be RS256 or"),
        ({**OAUTH2, "grant": "client_credentials", "algorithm": "EdDSA"}, "the key does not sign by EdDSA"),
    ],
)
async def test_a_key_of_another_algorithm_is_told(keys: dict[str, Any], says: str) -> None:
    (problem,) = await unresolved(settings({"a": {"upstream": "https://x"}}, {"c": {**keys, "key": PEM}}))
    assert problem.startswith(f"credentials.c.key: the configuration: {says}")


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "jwt"},
        {"type": "jwt", "algorithm": "HS256"},
        {**OAUTH2, "grant": "client_credentials", "algorithm": "HS256"},
        {**OAUTH2, "grant": "jwt_bearer", "client_auth": "none", "algorithm": "HS512"},
    ],
)
@pytest.mark.parametrize(
    "key", ["s3cret-that-both-know", '{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"}']
)
async def test_for_hmac_plain_text_and_a_jwk_will_do_everywhere(keys: dict[str, Any], key: str) -> None:
    assert await unresolved(settings({"a": {"upstream": "https://x"}}, {"c": {**keys, "key": key}})) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"private_key": "c4n4ry"}, "private_key: the key is no PEM; expected"),
        ({"private_key": ""}, "is no service account's key"),
    ],
)
async def test_a_key_file_of_google_s_without_a_key_is_told(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    file = key_file(tmp_path, **changes)
    keys = {"type": "google_service_account", "scope": "x", "key_file": str(file)}
    (problem,) = await unresolved(settings({"a": {"upstream": "https://x"}}, {"c": keys}))
    assert problem.startswith("credentials.c.key_file: ")
    assert says in problem
    assert "c4n4ry" not in problem


async def test_a_key_that_can_not_be_had_is_told_once() -> None:
    keys = {"type": "jwt", "key": {"env": "NO_SUCH_NAME"}}
    assert await unresolved(settings({"a": {"upstream": "https://x"}}, {"c": keys})) == [
        "credentials.c.key: the environment variable NO_SUCH_NAME is not set"
    ]


def test_columns_are_aligned() -> None:
    rows = [Row("a", "/", "https://x", "none", "200"), Row("long", "/l/", "https://y", "k", "401")]
    assert table(rows) == (
        "ROUTE  MATCHES  UPSTREAM   CREDENTIAL  RESULT\n"
        "a      /        https://x  none        200\n"
        "long   /l/      https://y  k           401"
    )


# -- live --------------------------------------------------------------------------------------------------


async def test_live_fetches_tokens_and_says_what_came_back(api: DemoServer) -> None:
    table = dict(demo.settings(api.url))
    routes: Any = {name: dict(route) for name, route in table["routes"].items()}  # type: ignore[attr-defined]  # a table
    for route in routes.values():
        route["upstream"] += "/hello"
    routes = {name: routes[name] for name in ("basic", "bearer", "oauth2", "hmac")}
    rows = await checked(settings(routes, table["credentials"]), live=True)  # type: ignore[arg-type]  # a table
    assert {row.route: (row.ok, row.result[:3]) for row in rows} == dict.fromkeys(routes, (True, "200"))


async def test_live_tells_scope_and_expiry_of_tokens(api: DemoServer) -> None:
    token = {
        "type": "oauth2",
        "grant": "client_credentials",
        "token_url": f"{api.url}/oauth2/token",
        "client_id": accounts.CLIENT_ID,
        "client_secret": accounts.CLIENT_SECRET,
        "scope": "read write",
    }
    routes: dict[str, Any] = {
        "bound": {"prefix": "/1", "upstream": f"{api.url}/oauth2/hello", "credential": token},
        "free": {"prefix": "/2", "upstream": f"{api.url}/events"},
    }
    bound, free = await checked(settings(routes), live=True)
    assert (bound.scope, free.scope, free.expires_in) == ("read write", None, None)
    assert bound.expires_in is not None
    assert 0 < bound.expires_in <= 10
    assert table([bound]).endswith(f"200 accepted; token: scope read write, expires in {bound.expires_in} s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 minutes"), (7199, "119 minutes"), (7200, "2 hours"), (200_000, "2 days")],
)
def test_how_long_a_token_lives_is_told_for_people(seconds: int, text: str) -> None:
    assert lasting(seconds) == text


async def test_live_says_what_is_wrong(api: DemoServer) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"nonsense\r\n\r\n")

    refused = {"type": "oauth2", "grant": "client_credentials", "token_url": f"{api.url}/oauth2/token",
               "client_id": "x", "client_secret": "c4n4ry"}  # fmt: skip
    async with raw_server(garbage) as port:
        rows = await checked(
            settings({
                "refused": {"prefix": "/1", "upstream": f"{api.url}/bearer/hello",
                            "credential": {"type": "bearer", "token": "c4n4ry"}},
                "no-token": {"prefix": "/2", "upstream": api.url, "credential": refused},
                "down": {"prefix": "/3", "upstream": "http://127.0.0.1:1"},
                "denied": {"prefix": "/4", "upstream": api.url, "allow": ["GET /x/**"]},
                "garbage": {"host": "x.example.com", "upstream": f"http://127.0.0.1:{port}"},
                "missing": {"prefix": "/6", "upstream": f"{api.url}/nope"},
            }),
            live=True,
        )  # fmt: skip
    found = {row.route: (row.ok, row.result) for row in rows}
    assert found["refused"] == (False, "401 refused the credential")
    assert found["no-token"][0] is False
    assert found["no-token"][1].startswith("credential: ")
    assert "invalid_client" in found["no-token"][1]
    assert found["down"][0] is False
    assert found["down"][1].startswith("connection_refused: ")
    assert found["denied"][0] is True
    assert found["denied"][1].startswith("not called: ")
    assert found["garbage"][0] is False
    assert found["missing"][0] is True
    assert found["missing"][1].startswith("404 nothing is there")
    assert "c4n4ry" not in str(rows)


@pytest.mark.parametrize(
    ("status", "ok", "text"),
    [
        (200, True, "200 accepted"), (204, True, "204 accepted"), (302, True, "302 redirects"),
        (400, True, "400 refused the request"), (401, False, "401 refused the credential"), (403, True, "403 forbid"),
        (404, True, "404 nothing is there"), (405, True, "405 GET is not allowed"), (407, False, "407 a proxy"),
        (410, True, "410 refused the request"), (429, True, "429 the API throttles"), (500, True, "500 the API failed"),
    ],
)  # fmt: skip
async def test_live_has_a_sentence_for_each_status(status: int, ok: bool, text: str) -> None:
    heads = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(f"HTTP/1.1 {status} x\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    async with raw_server(play) as port:
        routes = {"a": {"prefix": "/a", "upstream": f"http://127.0.0.1:{port}/base"}}
        (row,) = await checked(settings(routes), live=True, paths={"a": "/user?x=1"})
    assert (row.ok, row.result.startswith(text)) == (ok, True)
    (head,) = heads
    assert head.startswith(b"GET /base/user?x=1 HTTP/1.1\r\n")
    assert f"\r\nuser-agent: countersign/{proxy.__version__}\r\n".encode() in head.lower()


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ((), {"a": "/", "b": "/"}),
        (("/user",), {"a": "/user", "b": "/user"}),
        (("b=/x=/y", "/"), {"a": "/", "b": "/x=/y"}),
        (("a=/1?q=2", "b=/"), {"a": "/1?q=2", "b": "/"}),
    ],
)
def test_paths_are_for_all_routes_or_for_one(given: tuple[str, ...], paths: dict[str, str]) -> None:
    found = settings({"a": {"upstream": "https://x"}, "b": {"prefix": "/b", "upstream": "https://x"}})
    assert asked_paths(given, found) == paths


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--path", "/x"], "--path belongs to --live; expected --live, too"),
        (["--live", "--path", "x"], "--path: expected /PATH, or ROUTE=/PATH"),
        (["--live", "--path", "=/x"], "--path: expected /PATH, or ROUTE=/PATH"),
        (["--live", "--path", "/a b"], "--path: expected /PATH, or ROUTE=/PATH"),
        (["--live", "--path", "/a#b"], "--path: expected /PATH, or ROUTE=/PATH"),
        (["--live", "--path", "opn=/x"], "--path: no such route; expected open"),
    ],
)
def test_paths_that_are_wrong(run: Run, config: Config, arguments: list[str], text: str) -> None:
    found = run("check", "--config", config(TWO), *arguments)
    assert (found.code, found.out, found.err) == (2, "", f"error: {text}\n")


async def test_an_upstream_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(check, "PATIENCE", 0.05)
    async with raw_server(hang) as port:
        (row,) = await checked(settings({"a": {"upstream": f"http://127.0.0.1:{port}"}}), live=True)
    assert (row.ok, row.result) == (False, "no answer within 0 s")


async def test_live_by_command(api: DemoServer, run: Run, config: Config) -> None:
    text = f'[tokens]\nstore = "memory"\n[routes.a]\nupstream = "{api.url}/bearer/hello"\n'
    found = await asyncio.to_thread(run, "check", "--live", "--config", config(text))
    assert found.code == 1
    assert "401 refused the credential" in found.out


@pytest.mark.parametrize(
    ("upstream", "is_told"),
    [
        ("http://localhost:3000", True),
        ("http://api.LocalHost", True),
        ("https://localhost:3000", False),  # by its certificate
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("unix:/run/x.sock", False),
    ],
)
def test_a_name_that_stands_for_two_addresses_is_told(upstream: str, is_told: bool) -> None:
    host = upstream.lower().removeprefix("http://").partition(":")[0]
    told = (
        f"routes.a.upstream: {host} may be 127.0.0.1 or [::1], and another user may listen on one of them; "
        "expected the one that is meant"
    )
    assert list(ambiguous(settings({"a": {"upstream": upstream}}))) == ([told] if is_told else [])


@pytest.mark.parametrize("arguments", [("check",), ("explain", "GET", "/a/x")])
def test_names_control_no_terminal(run: Run, config: Callable[[str], str], arguments: tuple[str, ...]) -> None:
    name = r"a\u001b[2J\u202e\u009b"
    text = f'[routes."{name}"]\nprefix = "/a"\nupstream = "http://127.0.0.1:1"\ncredential = "{name}"\n'
    path = config(f'{text}[credentials."{name}"]\ntype = "basic"\nusername = "u"\npassword = {{ env = "HOME" }}\n')
    found = run(*arguments, "--config", path)
    assert r"a\x1b[2J\u202e\x9b" in found.out + found.err
    for line in (found.out + found.err).split("\n"):
        assert line.isprintable(), ascii(line)
