"""``countersign explain``: what would be sent, without sending anything."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from proxy.admin import credential_name, credential_proxy
from proxy.app import App
from proxy.cli import config_option, echo, told
from proxy.cli._settings import load_settings
from proxy.cli.run import run_loop
from proxy.config import Settings
from proxy.credentials import masked
from proxy.errors import ConfigError, CountersignError, ProxyError
from proxy.gateway import Entrance, Inbound, Story
from proxy.gateway.headers import read
from proxy.log import Log
from proxy.methods import REGISTERED
from proxy.places import own
from proxy.transport.outgoing import NONE, shown

_SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization", "x-countersign-token"})

Told = dict[str, Any]  # Any: JSON


@click.command("explain")
@config_option
@click.argument("method")
@click.argument("url")
@click.option("-H", "headers", metavar="'NAME: VALUE'", multiple=True, help="A field that the client sends.")
@click.option("-d", "data", metavar="DATA", help="The body that the client sends; @FILE reads a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@told
def command(
    config: Path | None, method: str, url: str, headers: tuple[str, ...], data: str | None, as_json: bool
) -> None:
    """Tell what would be sent for METHOD URL: route, upstream, headers with secrets masked.

    URL is the proxy's, or just a path. For signing schemes the exact string to sign and the signature are
    told, too.
    """
    settings = load_settings(config)
    found: list[Told] = []

    async def main() -> None:
        known = method.upper() if method.upper() in REGISTERED else method
        found.append(await explained(settings, known, url, [_field(text) for text in headers], _body(data)))

    run_loop(main())
    echo(json.dumps(found[0], indent=2) if as_json else text(found[0]))
    sys.exit(0 if "error" not in found[0] else 1)


def _field(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError("-H: right would be 'NAME: VALUE'")
    return name.strip().encode(), value.strip().encode()


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as failure:
            raise ConfigError(f"-d: {data[1:]} can't be read: {failure.strerror}") from None
    return data.encode()


async def explained(
    settings: Settings, method: str, url: str, headers: list[tuple[bytes, bytes]], body: bytes | None
) -> Told:
    """Return what would be sent for a request, as it may be shown."""
    app = App(settings, Log(requests=False))
    await app.open()
    try:
        inbound = _inbound(app, method, url, headers, body)
        try:
            route, request = app.prepare(inbound)
        except ProxyError as error:
            return {"error": error.error, "status": error.status, "detail": error.detail}
        try:
            notes = await route.scheme.explain(request)
        except CountersignError as failure:
            notes = {"error": str(failure)}
        except Exception as failure:  # noqa: BLE001  # a third party's; its text may repeat what is secret
            notes = {"error": type(failure).__name__}
        upstream = route.exchange.upstream
        target = request.extensions["target"].decode("ascii", "replace")
        return {
            "route": route.name,
            "credential": credential_name(route),
            "method": method,
            "url": f"{upstream.url.scheme}://{upstream.authority.decode()}{target}",
            "proxy": None if upstream.proxy is None else shown(upstream.proxy),
            "credential_proxy": credential_proxy(route),
            "headers": [[name, _shown(name, value)] for name, value in _decoded(request.headers.raw)],
            "body_bytes": len(body or b""),
            **notes,
        }
    finally:
        await app.aclose()


def _inbound(app: App, method: str, url: str, headers: list[tuple[bytes, bytes]], body: bytes | None) -> Inbound:
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise ConfigError("URL: right would be a path such as /github/user, or the proxy's whole URL") from None
    target = url if not split.netloc else (split.path or "/") + (f"?{split.query}" if split.query else "")
    host = split.netloc or "localhost"
    listen = next((address for address in own(app.settings) if split.netloc and address.endswith(split.netloc)), "")
    own_host = any(name.lower() == b"host" for name, _ in headers)
    fields = headers if own_host else [(b"Host", host.encode()), *headers]
    if body is not None and not any(name.lower() == b"content-length" for name, _ in headers):
        fields = [*fields, (b"Content-Length", str(len(body)).encode())]
    inbound = Inbound(method, target.encode(), read(fields), (1, 1), Entrance(listen, port), Story(method, target, 0.0))
    if body is not None:
        inbound.body, inbound.length = _source(body), len(body)
    return inbound


def _source(body: bytes) -> Any:  # Any: a BodySource
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    return pieces


def _decoded(raw: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]


def _shown(name: str, value: str) -> str:
    """Mask what the client's own fields may hold; the credential has been masked by its scheme."""
    return masked(value) if name.lower() in _SECRET_FIELDS and "***" not in value else value


def text(found: Told) -> str:
    """Return it for people."""
    if "status" in found:
        return f"not sent: {found['status']} {found['error']}: {found['detail']}"
    lines = [f"route: {found['route']}", f"credential: {found['credential']}"]
    if found["proxy"] is not None:
        lines.append(f"outgoing proxy: {found['proxy']}")
    if found["credential_proxy"] not in (None, found["proxy"] or NONE):
        lines.append(f"outgoing proxy of the credential's requests: {found['credential_proxy']}")
    lines += [
        "",
        f"{found['method']} {found['url']}",
    ]
    lines += [f"{name}: {value}" for name, value in found["headers"]]
    if found["body_bytes"]:
        lines += ["", f"({found['body_bytes']} bytes of body)"]
    known = ("route", "credential", "method", "url", "proxy", "credential_proxy", "headers", "body_bytes")
    for key, value in found.items():
        if key not in known:
            lines += ["", f"{key.replace('_', ' ')}:", *("  " + line for line in str(value).splitlines())]
    return "\n".join(lines)
