"""Secrets of each kind go through a proxy; none shows in a log line, an error or an admin page, in any encoding."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.watching import shown

from .conftest import TOKEN, Admin, call

SECRETS = {
    kind: f"c4n4ry/{kind}+&?s3cr3t" for kind in ("literal", "env", "file", "command", "json", "query", "cookie", "hmac")
}


async def test_no_secret_shows(admin: Admin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CANARY", SECRETS["env"])
    (tmp_path / "secret").write_text(SECRETS["file"])
    (tmp_path / "secret.json").write_text(f'{{"a": {{"b": "{SECRETS["json"]}"}}}}')
    named = {
        "literal": {"type": "basic", "username": "u", "password": SECRETS["literal"]},
        "env": {"type": "bearer", "token": {"env": "CANARY"}},
        "file": {"type": "digest", "username": "u", "password": {"file": str(tmp_path / "secret")}},
        "command": {"type": "api_key", "name": "X-Key", "value": {"command": ["echo", SECRETS["command"]]}},
        "json": {"type": "bearer", "token": {"file": str(tmp_path / "secret.json"), "json": "a.b"}},
        "query": {"type": "api_key", "in": "query", "name": "key", "value": SECRETS["query"]},
        "cookie": {"type": "api_key", "in": "cookie", "name": "key", "value": SECRETS["cookie"]},
        "hmac": {"type": "hmac", "secret": SECRETS["hmac"], "string_to_sign": "{secret}{target}",
                 "headers": {"X-Signature": "{signature}"}},
        "oauth": {"type": "oauth2", "grant": "client_credentials", "token_url": "http://127.0.0.1:1/t",
                  "client_id": "x", "client_secret": SECRETS["literal"]},
    }  # fmt: skip
    upstream = (await admin())[0].url  # any server will do
    routes = {
        f"to-{kind}": {"prefix": f"/to-{kind}", "upstream": f"{upstream}/basic", "credential": kind,
                       "retry": {"attempts": 1}}
        for kind in named
    } | {
        f"down-{kind}": {"prefix": f"/down-{kind}", "upstream": "http://127.0.0.1:1", "credential": kind,
                         "retry": {"attempts": 1}}
        for kind in named
    }  # fmt: skip
    running, client = await admin(routes=routes, credentials=named)
    seen = []
    for kind in named:
        for path in (f"/to-{kind}/hello?x={quote(SECRETS['env'], safe='')}", f"/down-{kind}/x", f"/to-{kind}/..%2f"):
            answer = await call(running, path, headers={"Authorization": f"Bearer {SECRETS['env']}"})
            if answer.headers.get("Content-Type") == "application/problem+json":
                seen.append(answer.text)
            seen.append(answer.headers.get("Proxy-Status", ""))
    for path in ("/", "/api/status", "/readyz", "/metrics", "/healthz", "/nope"):
        seen.append((await client.get(path, params={"token": TOKEN})).text)
    assert len([text for text in seen if text]) > 20
    everything = "\n".join([*seen, running.lines, repr(running.app.settings)])
    assert len(re.findall('"event": "request"', running.lines)) == 3 * len(named)
    assert shown(everything, {*SECRETS.values(), TOKEN}) is None
