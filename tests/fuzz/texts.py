"""What people write: the configuration and its values, rules, templates, references to secrets."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
from pydantic import TypeAdapter, ValidationError

from proxy import environment
from proxy.cli._flags import reference, settings_of_flags
from proxy.clock import Clock
from proxy.config import Settings, load
from proxy.credentials import Context
from proxy.credentials._template import Template
from proxy.credentials.hmac import Hmac
from proxy.credentials.session import Session
from proxy.errors import ConfigError, CredentialError, Denied, MalformedRequest
from proxy.gateway.policy import Policy, Rule
from proxy.gateway.target import check_bytes
from proxy.values import parse_duration, parse_size
from tests.fuzz import room, target
from tests.fuzz.fields import LOOP, is_field

CANARY = "c4n4ry"
CONFIG = b"""[server]
listen = ["127.0.0.1:0"]
admin = ""
[tokens]
store = "memory"
[retry]
max_wait = "5s"
[routes.a]
prefix = "/a"
upstream = "https://api.example.com/base"
allow = ["GET /**"]
request_headers = { set = { "X" = "y" }, remove = ["Cookie"] }
credential = { type = "bearer", token = "c4n4ry" }
[routes.b]
host = "b.localhost"
upstream = "http://127.0.0.1:1"
credential = "c"
[credentials.c]
type = "hmac"
secret = "c4n4ry"
string_to_sign = "{method}{target}{timestamp}"
headers = { X-Signature = "{signature}" }
[credentials.d]
type = "oauth2"
grant = "client_credentials"
token_url = "https://a.example/token"
client_id = "x"
client_secret = "c4n4ry"
"""
KEYS = [
    b"[server]\n", b"[routes.x]\n", b"[credentials.c]\n", b"[[routes]]\n", b'upstream = "https://a"\n',
    b'type = "basic"\n', b"username = ",
    b"{ env = ", b"{ file = ", b"{ command = ", b"true", b"1979-05-27", b"0x", b"inf", b'"""', b"'''", b'"c4n4ry"',
    b" = ", b'"5m"', b'"1GiB"',
    b'"unix:/x"', b'"127.0.0.1:99999"', b"[retry]\n", b"attempts = ", b'"[::1]:1"', b"tls = { ca = ", b'"oauth2"',
    b'"session"', b'"exec"',
]  # fmt: skip


def _loaded(file: Path) -> Settings | None:
    try:
        return load(file)
    except ConfigError as failure:
        told = str(failure)
        assert all(line.startswith((str(file), ".env", "environment")) for line in told.splitlines()), told
        assert CANARY not in told or _is_key(tomllib.loads(file.read_text())), told
        return None


def _is_key(table: object) -> bool:
    """Whether the canary has become a key, which may be shown."""
    if isinstance(table, dict):
        return any(CANARY in key or _is_key(value) for key, value in table.items())
    return isinstance(table, list) and any(map(_is_key, table))


@target(CONFIG, b'[routes.a]\nupstream = "https://a"\n', words=KEYS)
def configuration(data: bytes) -> None:
    file = room() / "c.toml"
    file.write_bytes(data)
    file.chmod(0o600)
    settings = _loaded(file)
    if settings is not None:
        assert CANARY not in repr(settings) or _is_key(tomllib.loads(file.read_text()))


@target(
    b"COUNTERSIGN_ROUTES__A__UPSTREAM=https://a\nCOUNTERSIGN_RETRY__ATTEMPTS=3\n",
    b"COUNTERSIGN_SERVER={\"listen\": [\"127.0.0.1:0\"]}",
    b"export COUNTERSIGN_CREDENTIALS__X='{\"type\": \"none\"}' # x", words=[b"COUNTERSIGN_", b"__", b"ROUTES",
    b"SERVER", b"LISTEN", b"{", b'"', b"=", b"\n"],
)  # fmt: skip
def dotenv(data: bytes) -> None:
    os.chdir(room())
    (room() / ".env").write_bytes(data)
    (room() / "e.toml").write_bytes(b'[routes.a]\nupstream = "https://a"\n')
    try:
        load(room() / "e.toml")
    except ConfigError as failure:
        assert str(failure)
    finally:
        (room() / ".env").unlink()
        environment.Environment().adopt()


KNOWN = frozenset({"method", "target", "body", "signature"})


@target(
    b"{method}{target} {{x}} %s {header:X-A}",
    b"{body}",
    b"{",
    b"}}{{",
    words=[b"{", b"}", b"{{", b"%b", b"{header:", b"method", b"\n"],
)
def template(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    try:
        made = Template(text, KNOWN)
    except ValueError as failure:
        assert "right would be" in str(failure)
        return
    values = dict.fromkeys(made.fields, b"<%b>")
    again = re.sub(r"\{\{|\}\}|\{[^{}]*\}", lambda match: {"{{": "{", "}}": "}"}.get(match[0], "<%b>"), text)
    assert made.render(values) == again.encode()


CONTEXT = Context("x", None, None, Clock())  # type: ignore[arg-type]  # it builds no other, and has no tokens
RULES = TypeAdapter(tuple[Rule, ...])


@target(
    b"GET /repos/**\n/repos/a/b", b"POST|PUT /a/*/b\n/a/x/b", b"* /**/x/**/y\n/x/x/y", b"DELETE **\n/%2e%2e",
    b"/*a*b*\n/aabb",
    words=[b"**", b"*", b"/**", b"/", b"GET ", b"|", b"\n", b"%2F", b"//", b";x"],
)  # fmt: skip
def rules(data: bytes) -> None:
    text, _, path = data.partition(b"\n")
    text, path = text[:60], path[:120]  # many short ones tell more than few long ones
    try:
        (rule,) = RULES.validate_python((text.decode("utf-8", "replace"),))
    except ValidationError:
        return
    for allow, deny in (((rule,), ()), ((), (rule,)), ((rule,), (rule,))):
        policy = Policy(allow, deny)
        for method in ("GET", "X"):
            try:
                policy.check([method], path)
                assert (allow, deny) != ((rule,), (rule,))
            except Denied:
                pass


@target(
    b"250ms", b"1.5h", b"64KiB", b"10MB", b"0", b"1e5", words=[b"ms", b"s", b"d", b"KiB", b"GB", b".", b"-", b"e", b"_"]
)
def values(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for parse in (parse_duration, parse_size):
        try:
            value = parse(text)
        except ValueError as failure:
            assert "right would be" in str(failure)
            continue
        assert isinstance(value, int | float)
        assert value >= 0
        assert math.isfinite(value)


@target(
    b"env:NAME", b"file:/x", b"keyring:service/user", b"cmd:pass show 'a b'", b"c4n4ry", b"user:env:NAME",
    b"X-Key: env:NAME",
    words=[b"env:", b"file:", b"cmd:", b"keyring:", b"/", b":", b"'", b"="],
)  # fmt: skip
def references(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    calls: tuple[Callable[[], object], ...] = (
        lambda: reference("--bearer", text),
        lambda: settings_of_flags("https://a", text, None, (), ()),
        lambda: settings_of_flags("https://a", None, text, (), ()),
        lambda: settings_of_flags("https://a", None, None, (text,), ()),
        lambda: settings_of_flags("https://a", None, None, (), (text,)),
    )
    for call in calls:
        try:
            assert isinstance(call(), dict)
        except ConfigError as failure:
            assert CANARY not in str(failure)


@target(
    b'{"a": {"b": "c4n4ry"}}',
    b'["x", {"env": "A"}]',
    b"{}",
    words=[b'{"env": ', b'{"file": ', b'"a"', b"[", b"]", b"{", b"}", b": ", b", ", b"1"],
)
def login_json(data: bytes) -> None:
    try:
        table = TypeAdapter(object).validate_json(data)
    except ValidationError:
        return
    try:
        made = Session.model_validate({"type": "session", "login": {"url": "https://a/login", "json": table}})
    except ValidationError as failure:
        assert CANARY not in str(failure)
        return
    assert CANARY not in repr(made)


@target(
    b"{method}{target}{timestamp}{body}\n{key_id}:{signature}\n/x?a=1",
    b"{sorted_query}|{header:X-A}|{nonce}\nx\n/x?b&a=%20;c",
    words=[b"{secret}", b"{body_hash}", b"{path}", b"{query}", b"{host}", b"{content_type}",
           b"{header:Cookie}", b"\n", b"&", b"=", b"%"],
)  # fmt: skip
def signature(data: bytes) -> None:
    string, placed, path = (*data.split(b"\n", 2), b"", b"")[:3]
    headers = {"X-Signature": "{signature}", "X-Made": placed.decode("utf-8", "replace")}
    table = {"type": "hmac", "secret": CANARY, "key_id": "k", "string_to_sign": string.decode("utf-8", "replace")}
    try:
        check_bytes(b"/" + path)
        settings = Hmac.model_validate(
            {**table, "headers": headers, "query": {"sig": "{signature}", "t": "{timestamp}"}}
        )
    except (ValidationError, MalformedRequest) as failure:
        assert CANARY not in str(failure)
        return
    fields = [(b"X-A", b"\xff"), (b"Cookie", b"a=b")]
    request = httpx.Request("GET", "http://a/", headers=fields, extensions={"target": b"/" + path}, content=b"body")
    scheme = settings.build(CONTEXT)
    try:
        LOOP.run_until_complete(scheme.apply(request))
    except CredentialError as failure:
        assert CANARY not in str(failure)
        return
    check_bytes(request.extensions["target"])
    assert all(is_field(value) for _, value in request.headers.raw)
    assert re.search(rb"[?&;]t=[^&]*&sig=[0-9a-f]{64}$", request.extensions["target"])
