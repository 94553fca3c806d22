"""The store on the command line: by a demo API, a file that others share, and a proxy that runs meanwhile."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy import demo
from proxy.demo import accounts
from proxy.demo.server import DemoServer
from proxy.stores import Setup, Token, default_path
from proxy.stores._cipher import Cipher
from proxy.stores._tokenfile import TokenFile
from proxy.stores.file import FileStore
from tests.conftest import Start

from .conftest import Ended, Run

STRANGER = Token("access-canary", 1_000_000_000.0, "refresh-canary", "read write", obtained_at=900_000_000.0)


@pytest.fixture
async def api() -> AsyncIterator[DemoServer]:
    async with await demo.start() as api:
        yield api


@pytest.fixture
def text(api: DemoServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CLIENT_SECRET", accounts.CLIENT_SECRET)
    return f"""
[routes.a]
upstream = "{api.url}/oauth2"
credential = "me"
[routes.inline]
prefix = "/i"
upstream = "{api.url}/oauth2"
[routes.inline.credential]
type = "oauth2"
grant = "device_code"
token_url = "{api.url}/oauth2/token"
client_id = "x"
client_auth = "none"
device_authorization_url = "{api.url}/x"
[credentials.me]
type = "oauth2"
grant = "client_credentials"
token_url = "{api.url}/oauth2/token"
client_id = "{accounts.CLIENT_ID}"
client_secret = {{ env = "CLIENT_SECRET" }}
[credentials.plain]
type = "bearer"
token = {{ env = "CLIENT_SECRET" }}
"""


class Tokens:
    """``countersign tokens``, beside the loop that the API needs."""

    def __init__(self, run: Run, config: str) -> None:
        self._run = run
        self._config = config

    async def __call__(self, command: str, *arguments: str) -> Ended:
        ended = await asyncio.to_thread(self._run, "tokens", command, "--config", self._config, *arguments)
        for secret in ("canary", accounts.CLIENT_SECRET):
            assert secret not in ended.out + ended.err
        return ended

    async def shown(self, *arguments: str) -> dict[str, Any]:
        """What is told of each token, by its name or its credential's."""
        ended = await self("list", "--json", *arguments)
        assert ended.code == 0
        return {entry["name"] or entry["credential"]: entry for entry in json.loads(ended.out)["tokens"]}


@pytest.fixture
def tokens(run: Run, config: Any, text: str) -> Tokens:
    return Tokens(run, config(text))


@pytest.fixture
async def store() -> AsyncIterator[FileStore]:
    store = FileStore(Setup(default_path()))
    yield store
    await store.aclose()


async def test_a_token_is_renewed_listed_shown_and_forgotten(tokens: Tokens, store: FileStore) -> None:
    assert "me             -      -        -      -              no token yet" in (await tokens("list")).out
    assert (await tokens("show", "me")).code == 1
    ended = await tokens("refresh", "me")
    assert (ended.code, ended.err) == (0, "")
    (name,) = await store.names()
    token = await store.load(name)
    assert token is not None
    assert ended.out.startswith(f"me: token {token.fingerprint}, expires 20")
    (entry,) = [entry for entry in (await tokens.shown()).values() if entry["credential"] == "me"]
    assert (entry["name"], entry["note"], entry["token"]["fingerprint"]) == (name, None, token.fingerprint)
    assert (entry["token"]["expired"], entry["token"]["refresh_token"]) == (False, False)
    shown = await tokens("show", "me")
    assert shown.code == 0
    assert f"fingerprint    {token.fingerprint}\n" in shown.out
    assert f"me             {token.fingerprint}  20" in (await tokens("list")).out
    again = await tokens("refresh", "me")
    assert token.fingerprint not in again.out
    ended = await tokens("forget", "me")
    assert (ended.code, ended.out) == (0, f"forgotten: {name}\n")
    assert await store.names() == []
    assert (await tokens("forget", "me")).err == "there was nothing to forget\n"


async def test_whose_tokens_they_are_is_told_and_all_can_be_forgotten(tokens: Tokens, store: FileStore) -> None:
    await store.save("me-0123456789ab", STRANGER)
    await store.save("gone-0123456789ab", STRANGER)
    shown = await tokens.shown()
    assert shown["me-0123456789ab"]["note"] == "of another configuration of this credential"
    assert shown["gone-0123456789ab"] == {
        "credential": "gone",
        "name": "gone-0123456789ab",
        "note": "of no credential in this configuration",
        "token": {
            "fingerprint": STRANGER.fingerprint,
            "type": "Bearer",
            "scope": "read write",
            "obtained_at": "1998-07-09T16:00:00Z",
            "expires_at": "2001-09-09T01:46:40Z",
            "expired": True,
            "refresh_token": True,
        },
    }
    assert "2001-09-09T01:46:40Z (over)  read write  yes" in (await tokens("list")).out
    assert "credential     gone\n" in (await tokens("show", "gone")).out
    assert (await tokens("forget", "gone")).out == "forgotten: gone-0123456789ab\n"
    assert (await tokens("forget", "--all")).out == "forgotten: me-0123456789ab\n"
    assert await store.names() == []


async def test_names_and_scopes_control_no_terminal(tokens: Tokens, store: FileStore) -> None:
    hostile = "\x1b]0;owned\x07\x9b2J\u202eevil\nforged"
    await store.save(hostile, Token("access-canary", None, scope=hostile))
    outputs = [await tokens(*words) for words in (("list",), ("show",), ("forget", "--all"))]
    for ended in outputs:
        assert ended.code == 0
        for line in (ended.out + ended.err).split("\n"):
            assert line.isprintable(), ascii(line)
        assert r"\x1b]0;owned\x07\x9b2J\u202eevil\n" in ended.out or r"\x1b]0;owned\x07\x9b2J\u202eevil" in ended.out


async def test_what_cant_be_renewed_is_told_and_the_others_are(tokens: Tokens, store: FileStore) -> None:
    ended = await tokens("refresh")
    assert ended.code == 1
    assert ended.out.startswith("me: token ")
    assert "error: routes.inline: login needed: countersign login routes.inline" in ended.err
    assert len(await store.names()) == 1


async def test_a_token_that_cant_be_saved_is_no_success(
    tokens: Tokens, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proxy.stores._tokenfile.replace", full)
    ended = await tokens("refresh", "me")
    assert (ended.code, ended.out) == (1, "")
    assert "error: me: the token store" in ended.err


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (("show", "plain"), "credential plain has no tokens to keep; right would be one of me, routes.inline"),
        (("show", "mee"), "credential mee does not exist; right would be me"),
        (("refresh", "plain"), "credential plain has no tokens to keep; right would be one of me, routes.inline"),
        (("refresh", "mee"), "credential mee does not exist; right would be me"),
        (("forget", "mee"), "credential mee does not exist; right would be me"),
        (("forget",), "forget: right would be either a CREDENTIAL or --all"),
        (("forget", "me", "--all"), "forget: right would be either a CREDENTIAL or --all"),
    ],
)
async def test_what_there_is_no_token_of_is_a_mistake(tokens: Tokens, arguments: tuple[str, ...], mistake: str) -> None:
    ended = await tokens(*arguments)
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {mistake}\n")


async def test_a_secret_that_is_missing_keeps_nobody_from_looking(
    tokens: Tokens, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIENT_SECRET")
    await store.save("me-0123456789ab", STRANGER)
    assert (await tokens("list")).code == 0
    assert (await tokens("refresh", "me")).code == 1


async def test_a_store_that_nobody_else_sees_or_that_cant_be_read_is_told(
    run: Run, config: Any, text: str, tokens: Tokens, store: FileStore
) -> None:
    memory = Tokens(run, config(text + '[tokens]\nstore = "memory"\n'))
    ended = await memory("list")
    assert (ended.code, ended.out) == (2, "")
    assert 'tokens.store: "memory" keeps tokens inside of the running proxy' in ended.err
    TokenFile(default_path(), Cipher([b"key-canary"]), print).put("a", STRANGER)
    ended = await Tokens(run, config(text))("list")
    assert (ended.code, ended.out) == (1, "")
    assert "is encrypted; set tokens.key" in ended.err


async def test_a_running_proxy_takes_up_what_the_command_line_renews(
    start: Start, tokens: Tokens, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.stores.file.PAUSE", 0.01)
    running = await start({**tomllib.loads(text), "tokens": {"store": "file", "path": str(default_path())}})
    source = running.app.scheme("me").source  # type: ignore[union-attr]  # it is there
    assert source is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{running.url}/hello")).status_code == 200
        ended = await tokens("refresh", "me")
        async with asyncio.timeout(10):
            while source.current is None or source.current.fingerprint not in ended.out:
                await asyncio.sleep(0.01)
        assert (await client.get(f"{running.url}/hello")).status_code == 200
        await tokens("forget", "me")
        async with asyncio.timeout(10):
            while source.current is not None:
                await asyncio.sleep(0.01)
        assert (await client.get(f"{running.url}/hello")).status_code == 200
