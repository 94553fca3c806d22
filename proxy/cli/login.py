"""``countersign login``: a user grants a credential its token, in a browser or on another device."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from proxy.app import App
from proxy.cli import config_option, echo, told
from proxy.cli._settings import load_settings
from proxy.cli.run import run_loop
from proxy.config import Settings
from proxy.errors import ConfigError, CredentialError
from proxy.log import Log
from proxy.mistakes import nearest
from proxy.stores import Token
from proxy.tokens.authorization import Authorization
from proxy.tokens.callback import HOST, PATH, Callback
from proxy.tokens.device import DeviceLogin
from proxy.tokens.requests import Login, TokenRequests

PATIENCE = 600.0  # seconds for the user

Lines = Callable[[Callable[[str], None]], None]


@click.command("login")
@config_option
@click.argument("credential")
@click.option("--device", is_flag=True, help="Log in on another device, by a code.")
@told
def command(config: Path | None, credential: str, device: bool) -> None:
    """Get CREDENTIAL its token by a login, and store it.

    CREDENTIAL is the NAME of [credentials.NAME], or routes.NAME for what stands in a route.
    """
    settings = load_settings(config)

    async def main() -> None:
        token = await logged_in(settings, credential, device=device)
        echo(outcome(credential, token))

    run_loop(main())


async def logged_in(settings: Settings, name: str, *, device: bool) -> Token:
    """Let the user log in and store the token.

    Raises:
        ConfigError: there is nothing to log in to.
        CountersignError: it failed.

    """
    if settings.tokens.store == "memory":
        raise ConfigError('tokens.store: "memory" would forget the token at once; right would be "file"')
    app = App(settings, Log(requests=False))
    await app.open()
    try:
        login = _login(app, name)
        by_device = device or login.requests.settings.grant == "device_code"
        ask = _on_another_device(login.requests, app) if by_device else in_browser(login.requests, read_lines)
        try:
            async with asyncio.timeout(PATIENCE):
                token = await ask
        except TimeoutError:
            raise CredentialError(f"nobody has logged in within {PATIENCE / 60:.0f} minutes") from None
        await login.keep(token)
        return token
    finally:
        await app.aclose()


def _login(app: App, name: str) -> Login:
    scheme = app.scheme(name)
    if scheme is None:
        known = [*app.settings.credentials, *(f"routes.{route.name}" for route in app.routes)]
        raise ConfigError(f"no such credential; right would be {nearest(name, known)}")
    if scheme.login is None:
        raise ConfigError(f"credential {name} needs no login; right would be one whose grant is authorization_code")
    return scheme.login


def outcome(name: str, token: Token) -> str:
    """Return what is worth knowing of a token."""
    scope = f", scope {token.scope}" if token.scope else ""
    renewal = "" if token.refresh_token else "; it can't be renewed, since the server gave no refresh token"
    return f"logged in: {name}{scope}{renewal}"


def _say(text: str) -> None:
    echo(text, err=True)


# -- on another device -------------------------------------------------------------------------------------


async def _on_another_device(requests: TokenRequests, app: App) -> Token:
    device = await DeviceLogin.begin(requests)
    _say(f"Open {device.url} on any device, and enter the code {device.user_code}")
    if device.complete_url:
        _say(f"or open {device.complete_url}")
    open_browser(device.complete_url or device.url)
    return await device.token(app.clock)


# -- in a browser ------------------------------------------------------------------------------------------


async def in_browser(requests: TokenRequests, lines: Lines) -> Token:
    """Let the user log in in a browser of this machine or, pasting the redirect, of another one.

    Args:
        requests: of the credential.
        lines: calls back with each line that the user enters.

    Raises:
        CountersignError: it failed.

    """
    callback = await Callback.open(requests.settings.redirect_port)
    try:
        authorization = await Authorization.begin(requests, callback.uri)
        url = await authorization.url()
        _say(redirect_hint(callback.uri, requests.settings.redirect_port))
        _say(f"Open this address in a browser, and log in:\n\n  {url}\n")
        _say("If the browser is on another machine: paste the address of the page that it ends at, which can't load.")
        open_browser(url)
        return await _redeemed(authorization, callback, lines)
    finally:
        callback.close()


def redirect_hint(uri: str, port: int) -> str:
    """Return which redirect URI to register with the authorization server.

    Args:
        uri: the one of this login.
        port: ``redirect_port``.

    """
    if port:
        return f"The redirect URI of this login, to be registered with the authorization server: {uri}"
    return (
        f"The redirect URI of this login: {uri}\nTo be registered with the authorization server: http://{HOST}{PATH}; "
        "the port is another one each time. A server that compares the port, too, needs redirect_port."
    )


async def _redeemed(authorization: Authorization, callback: Callback, lines: Lines) -> Token:
    pasted = _pasted(lines, authorization)
    arriving = asyncio.create_task(callback.redirect(authorization.expects), name="redirect")
    try:
        await asyncio.wait((arriving, pasted), return_when=asyncio.FIRST_COMPLETED)
        if pasted.done():
            return await authorization.token(authorization.code(pasted.result()))
        return await _answered(arriving.result(), authorization, callback)
    finally:
        arriving.cancel()
        pasted.cancel()


async def _answered(query: str, authorization: Authorization, callback: Callback) -> Token:
    """Take the code of a redirect, and tell the browser how it ended."""
    succeeded = False
    try:
        token = await authorization.token(authorization.code(query))
        succeeded = True
        return token
    finally:
        await callback.finish(succeeded=succeeded)


def _pasted(lines: Lines, authorization: Authorization) -> asyncio.Future[str]:
    """Return the query of the first address of this login that the user enters."""
    loop = asyncio.get_running_loop()
    entered: asyncio.Future[str] = loop.create_future()

    def take(line: str) -> None:
        if entered.done() or not line.strip():
            return
        query = _query(line.strip())
        if not query:
            _say("That is no address with a code; paste all of it, from http:// on.")
        elif not authorization.expects(query):
            _say("That address belongs to another login: its state differs. Paste the one that this login ended at.")
        else:
            entered.set_result(query)

    def entering(line: str) -> None:
        with suppress(RuntimeError):  # the login is over
            loop.call_soon_threadsafe(take, line)

    threading.Thread(target=lines, args=(entering,), daemon=True, name="stdin").start()
    return entered


def _query(address: str) -> str:
    try:
        return urlsplit(address).query
    except ValueError:
        return ""


def read_lines(entered: Callable[[str], None]) -> None:
    """Call back with each line of stdin; blocks until it ends.

    Reads the descriptor itself: Python can't end while a thread waits inside its own buffers.
    """
    try:
        stdin = sys.stdin.fileno()
    except (AttributeError, ValueError, io.UnsupportedOperation):
        return  # there is none
    rest = b""
    with suppress(OSError):
        while piece := os.read(stdin, 1 << 16):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                entered(line.decode(errors="replace"))
    if rest:
        entered(rest.decode(errors="replace"))


def open_browser(url: str) -> None:
    """Open `url` in the user's browser if there is one, without waiting for it."""
    if not (os.environ.get("BROWSER") or _has_desktop()):
        return  # else a text browser would take the terminal
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True, name="browser").start()


def _has_desktop() -> bool:
    return sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
