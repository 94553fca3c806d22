"""A user logs in: by processes, a browser of the test's own, and Authlib as the authorization server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from proxy.cli import login
from proxy.errors import CredentialError
from proxy.stores import Token
from proxy.transport.stock import StockTransport
from proxy.transport.tls import context
from tests.authority import USER, Authority, authority, table, toml
from tests.conftest import Running, Start
from tests.doubles import settle
from tests.tokens.test_authority import requests

from .conftest import Run, line_with, process

Config = Callable[[str], str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with authority() as running:
        yield running


def text(server: Authority, grant: str = "authorization_code", way: str = "none", **keys: Any) -> str:
    credential = toml(table(server, grant, way, **{"scope": "read", **keys}))
    return f'[routes.api]\nupstream = "{server.url}"\ncredential = "me"\n\n[credentials.me]\n{credential}\n'


@pytest.fixture
def browser(tmp_path: Path) -> str:
    """What goes where it is sent, as a browser does, and says how that ended."""
    program = tmp_path / "browser"
    program.write_text(
        f"#!{sys.executable}\nimport sys, urllib.error, urllib.request, pathlib\n"
        "try: said = urllib.request.urlopen(sys.argv[1]).read().decode()\n"
        "except urllib.error.HTTPError as failure: said = failure.read().decode()\n"
        f"pathlib.Path({str(tmp_path / 'page')!r}).write_text(said)\n"
    )
    program.chmod(0o755)
    return str(program)


class Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def redirect(url: str) -> str:
    """Where the user's browser would be sent."""
    try:
        urllib.request.build_opener(Stays).open(url)
    except urllib.error.HTTPError as answer:
        return answer.headers["Location"]
    raise AssertionError("no redirect")


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = running.communicate(timeout=30)
    assert "Traceback" not in err
    return running.returncode, out, err


def url_of(running: subprocess.Popen[str]) -> str:
    return line_with(running.stderr, "  http").strip()


# -- in a browser ----------------------------------------------------------------------------------------------


async def asked(proxy: Running) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"{proxy.url}/api")


async def test_a_browser_is_opened_and_a_running_proxy_takes_the_token_up_at_once(
    server: Authority, config: Config, browser: str, tmp_path: Path, start: Start
) -> None:
    credential = table(server, "authorization_code", "none", scope="read")
    proxy = await start(
        {"routes": {"api": {"upstream": server.url, "credential": "me"}}, "credentials": {"me": credential},
         "tokens": {"store": "file"}}
    )  # fmt: skip
    for _ in range(3):
        answer = await asked(proxy)
        assert (answer.status_code, answer.json()["detail"]) == (502, "login needed: countersign login me")
    assert server.forms == []
    login_process = process("login", "me", "--config", config(text(server)), BROWSER=f"{browser} %s")
    code, out, err = await asyncio.to_thread(ended, login_process)
    assert (code, out) == (0, "logged in: me, scope read\n")
    answer = await asked(proxy)
    assert (answer.status_code, answer.json()) == (200, {"user": USER})
    assert f"{server.url}/authorize?response_type=code" in err
    (token,) = server.access
    (given,) = server.refresh
    assert not {token, given, server.forms[0]["code"]} & set(re.split(r"[^\w-]", out + err + proxy.lines))
    assert "Logged in" in (tmp_path / "page").read_text()
    assert stat.S_IMODE((tmp_path / "state/countersign/tokens.json").stat().st_mode) == 0o600


def test_the_address_of_the_last_page_can_be_pasted(server: Authority, config: Config) -> None:
    running = process("login", "me", "--config", config(text(server)), stdin=subprocess.PIPE)
    location = redirect(url_of(running))
    assert running.stdin is not None
    running.stdin.write(f"what?\n\n {location} \n")
    running.stdin.flush()
    assert ended(running)[:2] == (0, "logged in: me, scope read\n")


def test_ctrl_c_ends_it_at_once(server: Authority, config: Config) -> None:
    running = process("login", "me", "--config", config(text(server)), stdin=subprocess.PIPE)
    url_of(running)
    running.send_signal(signal.SIGINT)
    code, out, err = ended(running)
    assert (code, out) == (1, "")
    assert "Aborted" in err


# -- the same within this process ------------------------------------------------------------------------------


class Browser:
    """A user's browser, and what the user enters."""

    def __init__(self) -> None:
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.enter: Callable[[str], None] = lambda line: None

    def lines(self, enter: Callable[[str], None]) -> None:
        self.enter = enter

    async def sent_to(self) -> str:
        return await asyncio.to_thread(redirect, await self.address)


@pytest.fixture
async def browsing(monkeypatch: pytest.MonkeyPatch) -> Browser:
    made = Browser()
    monkeypatch.setattr(login, "open_browser", made.address.set_result)
    return made


@asynccontextmanager
async def logging_in(server: Authority, browsing: Browser, **keys: Any) -> AsyncIterator[asyncio.Task[Token]]:
    transport = StockTransport(context)
    made = requests(transport, table(server, "authorization_code", "none", **keys))
    task = asyncio.create_task(login.in_browser(made, browsing.lines))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        await transport.aclose()


async def went(address: str) -> tuple[int, str]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(address)
        return answer.status_code, answer.text


async def test_the_browser_is_told_how_it_ended(server: Authority, browsing: Browser) -> None:
    async with logging_in(server, browsing) as task:
        status, page = await went(await browsing.sent_to())
        assert (await task).access_token in server.access
        assert (status, "Logged in" in page) == (200, True)


async def test_what_is_no_address_can_be_pasted_anew(
    server: Authority, browsing: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    async with logging_in(server, browsing) as task:
        location = await browsing.sent_to()
        for line in ("", "http://[x", "abc"):
            browsing.enter(line)
        await settle()
        assert capsys.readouterr().err.count("That is no address with a code") == 2
        browsing.enter(location)
        browsing.enter("too late?a=b")
        assert (await task).access_token in server.access
    browsing.enter("much too late?a=b")


TAMPERED: list[tuple[str, str, str]] = [
    ("iss=[^&]*", "iss=https%3A%2F%2Fevil.test", "its iss differs"),
    ("&?iss=[^&]*", "", "its iss differs"),
    ("code=[^&]*", "code=s3cret", "refused: invalid_grant"),
    ("code=[^&]*", "error=access_denied", "the authorization server refused: access_denied"),
]


OTHERS = [("state=[^&]*", "state=other"), ("state=[^&]*", ""), ("code=[^&]*&state=[^&]*", "error=access_denied")]


@pytest.mark.parametrize(("part", "by"), OTHERS)
@pytest.mark.parametrize("way", ["browser", "pasted"])
async def test_a_redirect_of_another_login_does_not_end_it(
    server: Authority, browsing: Browser, capsys: pytest.CaptureFixture[str], part: str, by: str, way: str
) -> None:
    async with logging_in(server, browsing) as task:
        location = await browsing.sent_to()
        other = re.sub(part, by, location)
        assert other != location
        if way == "browser":
            status, page = await went(other)
            assert (status, "Nothing here" in page) == (404, True)
        else:
            browsing.enter(other)
            await settle()
            assert "That address belongs to another login: its state differs." in capsys.readouterr().err
        assert not task.done()
        assert (await went(location))[0] == 200
        assert (await task).access_token in server.access


async def test_the_redirect_uri_to_register_is_said(
    server: Authority, browsing: Browser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with logging_in(server, browsing):
        (uri,) = parse_qs(urlsplit(await browsing.address).query)["redirect_uri"]
        said = capsys.readouterr().err
        assert f"The redirect URI of this login: {uri}\n" in said
        assert "To be registered with the authorization server: http://127.0.0.1/callback; the port is another" in said
        assert "needs redirect_port" in said
    port = int(uri.split(":")[2].split("/")[0])
    opened = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(login, "open_browser", opened.set_result)
    async with logging_in(server, browsing, redirect_port=port):
        await opened
        said = capsys.readouterr().err
        assert f"The redirect URI of this login, to be registered with the authorization server: {uri}\n" in said
        assert "needs redirect_port" not in said


@pytest.mark.parametrize(("part", "by", "says"), TAMPERED)
@pytest.mark.parametrize("way", ["browser", "pasted"])
async def test_a_redirect_that_was_tampered_with_ends_it(
    server: Authority, browsing: Browser, part: str, by: str, says: str, way: str
) -> None:
    async with logging_in(server, browsing) as task:
        location = re.sub(part, by, await browsing.sent_to())
        if way == "browser":
            status, page = await went(location)
            assert (status, "Not logged in" in page) == (400, True)
        else:
            browsing.enter(location)
        with pytest.raises(CredentialError, match=says) as caught:
            await task
    assert "s3cret" not in str(caught.value)


async def test_a_certain_port_is_used_and_said_when_it_is_taken(server: Authority, browsing: Browser) -> None:
    async with logging_in(server, browsing):
        port = int(parse_qs(urlsplit(await browsing.address).query)["redirect_uri"][0].split(":")[2].split("/")[0])
        async with logging_in(server, browsing, redirect_port=port) as task:
            with pytest.raises(CredentialError, match=f"redirect_port {port} can't be had"):
                await task


def test_nobody_logs_in(server: Authority, config: Config, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "PATIENCE", 0.05)
    found = run("login", "me", "--config", config(text(server)))
    assert found.code == 1
    assert found.err.endswith("error: nobody has logged in within 0 minutes\n")


def test_a_browser_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe, slow = tmp_path / "pipe", tmp_path / "slow"
    os.mkfifo(pipe)
    slow.write_text(f'#!/bin/sh\ncat "{pipe}"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{slow} %s")
    login.open_browser("https://a.test")
    waiting = next(thread for thread in threading.enumerate() if thread.name == "browser")
    assert waiting.daemon
    pipe.write_text("")
    waiting.join()


# -- on another device -----------------------------------------------------------------------------------------


def test_a_code_is_shown_and_waited_for(server: Authority, config: Config) -> None:
    server.interval, server.user_says = 0.05, None
    running = process("login", "me", "--device", "--config", config(text(server, "authorization_code", "basic")))
    shown = line_with(running.stderr, "enter the code")
    assert f"Open {server.url}/activate on any device" in shown
    (code,) = [device["user_code"] for device in server.devices.values()]
    assert code in shown
    server.user_says = True
    assert ended(running)[:2] == (0, "logged in: me, scope read\n")


def test_a_user_who_says_no_there_is_told_so(server: Authority, config: Config, run: Run) -> None:
    server.interval, server.user_says = 0.01, False
    found = run("login", "me", "--config", config(text(server, "device_code")))
    assert (found.code, found.out) == (1, "")
    said = "access_denied (The resource owner or authorization server denied the request)"
    assert found.err.endswith(f"error: the token endpoint refused: {said}\n")


# -- what can't be -----------------------------------------------------------------------------------------------


def test_what_has_no_login_is_said(server: Authority, config: Config, run: Run) -> None:
    found = run("login", "mee", "--config", config(text(server)))
    assert (found.code, found.err) == (2, "error: no such credential; right would be me\n")
    found = run("login", "me", "--config", config(text(server, "client_credentials", "basic")))
    assert found.code == 2
    assert "credential me needs no login" in found.err
    found = run("login", "me", "--config", config('[tokens]\nstore = "memory"\n' + text(server)))
    assert found.code == 2
    assert 'tokens.store: "memory" would forget the token at once; right would be "file"' in found.err


def test_one_in_a_route_has_its_name(server: Authority, config: Config, run: Run) -> None:
    server.interval = 0.01
    inline = toml(table(server, "authorization_code", "none")).replace("\n", ", ")
    path = config(f'[routes.api]\nupstream = "{server.url}"\ncredential = {{ {inline} }}\n')
    found = run("login", "routes.api", "--device", "--config", path)
    assert (found.code, found.out) == (0, "logged in: routes.api\n")


def test_an_issuer_that_is_away_is_said(server: Authority, config: Config, run: Run) -> None:
    found = run("login", "me", "--config", config(text(server, issuer="http://127.0.0.1:1")))
    assert found.code == 1
    assert "the server's metadata: The upstream refuses connections" in found.err


def test_a_token_that_can_not_be_renewed_is_said() -> None:
    assert login.outcome("me", Token("t", None)).endswith(
        "; it can't be renewed, since the server gave no refresh token"
    )


def test_without_an_input_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    login.read_lines(lambda line: pytest.fail(line))


def test_the_last_line_needs_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, "a\nä".encode())
    os.close(writing)
    lines: list[str] = []
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        login.read_lines(lines.append)
    assert lines == ["a", "ä"]


def test_a_desktop_s_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    login.open_browser("https://a.test")
    assert opened == []
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    login.open_browser("https://b.test")
    while not opened:
        time.sleep(0.001)
    assert opened == ["https://b.test"]
