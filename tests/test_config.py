"""Everything that can be wrong in a configuration, and what users are told of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy import environment, layers, plugins
from proxy.config import load
from proxy.errors import ConfigError

CANARY = "c4n4ry-s3cr3t"
BASE = '[routes.a]\nupstream = "https://api.example.com"\n'
NO_ADDRESS = 'not an address; right would be "127.0.0.1:8080", "[::1]:8080" or "unix:/run/x.sock"'
NO_CREDENTIAL = (
    'is neither a name nor a table; expected the NAME of a [credentials.NAME], or { type = "…", … }; '
    'for several, a table of type "all", "fallback" or "rotate" with credentials = ["a", "b"]'
)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, mode: int = 0o600) -> Path:
        path = tmp_path / "c.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    return written


@pytest.fixture
def told(write: Write) -> Callable[..., list[str]]:
    """The mistakes in a file, without its name."""

    def lines(text: str, mode: int = 0o600) -> list[str]:
        path = write(text, mode)
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert CANARY not in str(caught.value)
        found = str(caught.value).splitlines()
        return [re.sub(rf"^{re.escape(str(path))}(:\d+)?: ", "", line) for line in found]

    return lines


Told = Callable[..., list[str]]


def env(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"COUNTERSIGN_{name}", value)


# -- what is right -----------------------------------------------------------------------------------------


def test_a_route_needs_nothing_but_its_upstream(write: Write, tmp_path: Path) -> None:
    found = load(write(BASE))
    assert found.server.listen == ("127.0.0.1:8080", "[::1]:8080")
    assert (found.server.admin, found.server.workers, found.server.shutdown_grace) == ("127.0.0.1:8081", 1, 8.0)
    assert (found.server.connections, found.server.header_size) == (1024, 32 << 10)
    assert (found.server.header_timeout, found.server.body_timeout, found.server.keepalive) == (10.0, 60.0, 75.0)
    assert (found.tokens.store, found.tokens.path) == ("file", tmp_path / "state/countersign/tokens.json")
    assert (found.retry.attempts, found.retry.max_wait, found.retry.backoff) == (4, 30.0, 0.5)
    assert (found.retry.statuses, found.retry.budget) == ((502, 503, 504), 0.2)
    assert found.retry.methods == ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE")
    assert (found.timeout.connect, found.timeout.read, found.timeout.total) == (5.0, 60.0, 0.0)
    assert (found.limits.replay_memory, found.limits.replay_disk) == (1 << 20, 256 << 20)
    assert (found.limits.body, found.limits.concurrency) == (0, 0)
    route = found.routes["a"]
    assert (route.prefix, route.host, route.listen, route.credential) == ("", None, None, "none")
    assert (route.strip_prefix, route.client_authorization, route.cookies) == (True, "replace", "pass")
    assert (route.rewrite, route.insecure) == (("location", "link", "set-cookie"), False)
    assert (found.proxy, found.no_proxy, route.proxy, route.no_proxy) == (None, (), None, None)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"250ms"', 0.25), ('"30s"', 30), ('"5m"', 300), ("10", 10), ("0.5", 0.5), ('"1.5s"', 1.5), ('"7"', 7), ("0", 0)],
)
def test_durations(write: Write, written: str, seconds: float) -> None:
    assert load(write(f"{BASE}[timeout]\nread = {written}")).timeout.read == seconds


@pytest.mark.parametrize(
    ("written", "size"), [('"64KiB"', 65536), ('"10MB"', 10**7), ("1024", 1024), ('"1 "', 1), ('"1.5kB"', 1500)]
)
def test_sizes(write: Write, written: str, size: int) -> None:
    assert load(write(f"{BASE}[limits]\nbody = {written}")).limits.body == size


def test_a_route_overrides_single_keys(write: Write) -> None:
    found = load(write(
        "[retry]\nattempts = 2\nbackoff = 1\n[timeout]\nread = 7\n[limits]\nbody = 9\nconcurrency = 3\n" + BASE
        + "[routes.a.retry]\nattempts = 9\n[routes.a.timeout]\ntotal = 5\n[routes.a.limits]\nbody = 0\n"
    ))  # fmt: skip
    retry, timeout, limits = found.effective(found.routes["a"])
    assert (retry.attempts, retry.backoff, retry.max_wait) == (9, 1.0, 30.0)
    assert (timeout.total, timeout.read, timeout.connect) == (5.0, 7.0, 5.0)
    assert (limits.body, limits.concurrency) == (0, 3)


def test_reading_is_fast(write: Write) -> None:
    path = write("".join(f'[routes.r{n}]\nprefix = "/r{n}"\nupstream = "https://x{n}"\n' for n in range(100)))
    load(path)
    best = min(_timed(lambda: load(path)) for _ in range(5))
    assert best < 0.25


def _timed(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


# -- precedence --------------------------------------------------------------------------------------------


def test_the_stronger_layer_wins(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(layers, "SECRETS_DIRECTORY", secrets)
    path = write(BASE + "[retry]\nattempts = 2\n")

    def attempts() -> int:
        return load(path).retry.attempts

    assert load(write(BASE)).retry.attempts == 4
    write(BASE + "[retry]\nattempts = 2\n")
    assert attempts() == 2
    (secrets / "COUNTERSIGN_RETRY__ATTEMPTS").write_text("3\n")
    assert attempts() == 3
    (tmp_path / ".env").write_text("COUNTERSIGN_RETRY__ATTEMPTS=5\n")
    assert attempts() == 5
    env(monkeypatch, RETRY__ATTEMPTS="6")
    assert attempts() == 6
    assert load(path, {"retry": {"attempts": 7}}).retry.attempts == 7


def test_a_whole_configuration_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    env(
        monkeypatch,
        ROUTES__API__UPSTREAM="https://api.example.com",
        ROUTES__API__CREDENTIAL="api",
        ROUTES__API__RETRY__STATUSES="502,503",
        ROUTES__API__STRIP_PREFIX="false",
        CREDENTIALS__API='{"type": "bearer", "token": {"env": "TOKEN"}}',
        SERVER__LISTEN="127.0.0.1:1, 127.0.0.1:2",
        SERVER__WORKERS="1",
        SERVER__ADMIN="",
        SERVER__CLIENT_TOKEN__ENV="COUNTERSIGN_MINE",
        MINE="x",
        STORE_KEY="x",
        TIMEOUT__READ="5m",
    )
    found = load(use_file=False)
    assert found.server.listen == ("127.0.0.1:1", "127.0.0.1:2")
    assert found.server.admin == ""
    assert found.routes["api"].retry.statuses == (502, 503)
    assert not found.routes["api"].strip_prefix
    assert found.credentials["api"].type == "bearer"
    assert found.timeout.read == 300


@pytest.mark.parametrize(
    "value", ["127.0.0.1:1,127.0.0.1:2", '["127.0.0.1:1", "127.0.0.1:2"]', ' [ "127.0.0.1:1","127.0.0.1:2" ] ']
)
def test_lists_are_commas_or_json(monkeypatch: pytest.MonkeyPatch, write: Write, value: str) -> None:
    env(monkeypatch, SERVER__LISTEN=value)
    assert load(write(BASE)).server.listen == ("127.0.0.1:1", "127.0.0.1:2")


def test_variables_find_names_in_any_spelling(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    env(monkeypatch, ROUTES__MY_API__UPSTREAM="https://b", routes__a__prefix="/x")
    found = load(write(BASE + '[routes.My-Api]\nprefix = "/my"\nupstream = "https://a"\n'))
    assert str(found.routes["My-Api"].upstream) == "https://b"
    assert found.routes["a"].prefix == "/x"
    assert len(found.routes) == 2


def test_a_secret_from_the_environment_replaces_the_whole_secret(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    env(monkeypatch, CREDENTIALS__A__TOKEN__FILE="/run/secrets/x")
    found = load(write(BASE + '[credentials.a]\ntype = "bearer"\ntoken = { env = "X" }\n'))
    ((path, source),) = found.secrets()
    assert path == ("credentials", "a", "token")
    assert source.kind == "file"


def test_variables_of_other_programs_mean_nothing(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    for name in ("SERVER", "TOKENS", "RETRY", "TIMEOUT", "LIMITS", "ROUTES", "CREDENTIALS"):
        monkeypatch.setenv(name, "3")
    load(write(BASE))


def test_the_path_of_tokens_is_that_of_this_run(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert load(write(BASE)).tokens.path == Path("/somewhere/countersign/tokens.json")


def test_a_user_without_a_home_can_keep_tokens_in_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    def nowhere() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert told(BASE) == [
        'tokens: there is no home directory to keep tokens in; right would be path = "/…/tokens.json"'
    ]
    load(write('[tokens]\nstore = "memory"\n' + BASE))


# -- mistakes ----------------------------------------------------------------------------------------------

STORES = "one of file, keyring, memory, redis://…, rediss://…, unix://…"
ONE = [
    ("", 'routes: is empty; right would be at least one [routes.NAME] with an upstream'),
    ("routes = 3", "routes: 3 is not a table; expected [routes.NAME], a table for each"),
    ("routes.a = 3",
     "routes.a: 3 is not a table; expected one with upstream, proxy, no_proxy, prefix, host, listen, …"),
    ("[routes.a]", 'routes.a.upstream: is missing; right would be upstream = "https://api.example.com"'),
    ('[routes."a b"]', 'routes."a b".upstream: is missing; right would be upstream = "https://api.example.com"'),
    ("routes.a.upstream = 3", 'routes.a.upstream: 3 is not a URL; right would be "https://api.example.com/base"'),
    ('routes.a.upstream = "ftp://x"', ('routes.a.upstream: not an http or https URL; right would be '
     '"https://api.example.com/base"')),
    ('routes.a.upstream = "https://u:' + CANARY + '@x"',
     "routes.a.upstream: holds a user name; right would be a credential of type basic"),
    ('routes.a.upstream = "https://x?key=' + CANARY + '"',
     "routes.a.upstream: holds a query or fragment; right would be a URL that ends with its path"),
    ('routes.a.upstream = "http://api.example.com"',
     "routes.a: the upstream is plain http beyond this machine; right would be https, or insecure = true"),
    (BASE + "tls = { verify = false }", "routes.a: tls.verify = false also needs insecure = true"),
    (BASE + "tls = { verfy = false }", "routes.a.tls.verfy: unknown key; right would be verify"),
    (BASE + 'tls = { ca = "/nowhere" }', "routes.a.tls.ca: there is no such file; right would be a PEM file"),
    (BASE + "credential = 3", f"routes.a.credential: {NO_CREDENTIAL}"),
    (BASE + 'credential = ["a", "b"]', f"routes.a.credential: {NO_CREDENTIAL}"),
    (BASE + "[server]\nlisten = 8080", f"server.listen: 8080 is {NO_ADDRESS}"),
    (BASE + '[server]\nlisten = "8080"', f'server.listen.0: "8080" is {NO_ADDRESS}'),
    (BASE + '[server]\nlisten = ":8080"', f'server.listen.0: ":8080" is {NO_ADDRESS}'),
    (BASE + "[server]\nlisten = [8080]", f"server.listen.0: 8080 is {NO_ADDRESS}"),
    (BASE + "[server]\nlisten = { port = 8080 }", f"server.listen: {NO_ADDRESS}"),
    (BASE + f'[server]\nlisten = "{CANARY}"', f"server.listen.0: {NO_ADDRESS}"),
    (BASE + "listen = 9001", f"routes.a.listen: 9001 is {NO_ADDRESS}"),
    (BASE + "[server]\nadmin = 8081", f"server.admin: 8081 is {NO_ADDRESS}"),
    (BASE + '[server]\nadmin = ":8081"', f'server.admin: ":8081" is {NO_ADDRESS}'),
    (BASE + "timeout = 3", "routes.a.timeout: 3 is not a table; expected one with connect, read, total"),
    (BASE + "retry = { statuses = 503 }", "routes.a.retry.statuses: 503 is not a list; expected [503]"),
    (BASE + "tls = true", "routes.a.tls: true is not a table; expected one with ca, cert, key, verify"),
    (BASE + '[timeout]\nread = "5 minutes"',
     'timeout.read: "5 minutes" is not a duration; right would be "250ms", "30s", "5m" or plain seconds'),
    (BASE + "[server]\nworkers = 1.5", "server.workers: 1.5 is not a whole number; right would be digits"),
    (BASE + 'credential = { type = "basic", username = 123456, password = "x" }',
     ("routes.a.credential.username: not a secret; right would be a string or one of "
      "{ command = … }, { env = … }, { file = … }, { keyring = … }")),
    (BASE + "request_headers = { set = { X-Key = 123456 } }",
     ("routes.a.request_headers.set.X-Key: not a text or a secret; expected a string or one of { command = … }, "
     "{ env = … }, { file = … }, { keyring = … }, { literal = … }")),
    (BASE + 'request_headers = { set = { X-Key = "env:KEY" } }',
     ('routes.a.request_headers.set.X-Key: names a secret as a text; expected { env = "KEY" }, or '
     '{ literal = "…" } for this text')),
    (BASE + "prefix = 3", 'routes.a.prefix: is not a text; right would be "…"'),
    (BASE + 'prefix = "x"', 'routes.a.prefix: not a path prefix; right would be "/github"'),
    (BASE + 'cookies = "jar"', "routes.a.cookies: is not allowed; right would be one of pass, drop"),
    (BASE + 'rewrite = "json"', "routes.a.rewrite.0: is not allowed; right would be one of location, link, set-cookie"),
    (BASE + "rewrite = 3", "routes.a.rewrite: 3 is not a list; right would be [ … ]"),
    (BASE + "upstreem = 3", "routes.a.upstreem: unknown key; right would be upstream"),
    (BASE + "[routes.a.retry]\nattemps = 3", "routes.a.retry.attemps: unknown key; right would be attempts"),
    (BASE + "[routes.a.retry]\nattempts = 0", "routes.a.retry.attempts: is too small; right would be at least 1"),
    (BASE + "[retry]\nbudget = 3", "retry.budget: is too large; right would be at most 1.0"),
    (BASE + '[retry]\nmethods = ["G T"]', 'retry.methods.0: not a method; expected a name such as "GET" or "LIST"'),
    (BASE + '[retry]\nstatuses = ["x"]', "retry.statuses.0: is not a whole number; right would be digits"),
    (BASE + "[retries]", "retries: unknown key; right would be retry"),
    (BASE + '[timeout]\nread = "soon"',
     'timeout.read: not a duration; right would be "250ms", "30s", "5m" or plain seconds'),
    (BASE + "[timeout]\nread = -1",
     'timeout.read: -1 is not a duration; right would be "250ms", "30s", "5m" or plain seconds'),
    (BASE + '[limits]\nbody = "big"', 'limits.body: not a size; right would be "64KiB", "10MB" or plain bytes'),
    (BASE + "[server]\nlisen = 3", "server.lisen: unknown key; right would be listen"),
    (BASE + "[server]\nlisten = []", "server.listen: is empty; right would be at least one"),
    (BASE + "[server]\nworkers = 0", "server.workers: is too small; right would be at least 1"),
    (BASE + "[server]\nworkers = 129", "server.workers: is too large; right would be at most 128"),
    (BASE + '[server]\nworkers = "all"', "server.workers: is not a whole number; right would be digits"),
    (BASE + '[server]\ntrust_network = "maybe"',
     "server.trust_network: is not a yes or no; right would be true or false"),
    (BASE + '[server]\nadmin = "x"',
     'server.admin: not an address; right would be "127.0.0.1:8080", "[::1]:8080" or "unix:/run/x.sock"'),
    *(
        (BASE + f'[server]\nlisten = "{given}"', f'server.listen.0: "{given}" is {NO_ADDRESS}')
        for given in ("localhost", "127.0.0.1", "::1", "[::1]", "http://localhost:8080", "http://127.0.0.1:80/", ":80")
    ),
    (BASE + "[server]\nadmin = 3", f"server.admin: 3 is {NO_ADDRESS}"),
    (BASE + '[server]\nlisten = ["127.0.0.1:1", "127.0.0.1:1"]',
     "server.listen: names an address twice; right would be once"),
    (BASE + '[server]\nadmin = "127.0.0.1:8080"',
     "server.admin: is an address of server.listen, too; right would be one of its own"),
    (BASE + '[server]\nlisten = ["0.0.0.0:80"]', ("server.listen: is beyond this machine; right would be 127.0.0.1, "
     "or server.client_token, or server.trust_network = true")),
    (BASE + 'listen = "[::]:80"', ("routes.a.listen: is beyond this machine; right would be 127.0.0.1, "
     "or server.client_token, or server.trust_network = true")),
    (BASE + '[server]\nadmin = "0.0.0.0:81"\ntrust_network = true',
     "server.admin: is beyond this machine; right would be 127.0.0.1, or server.admin_token"),
    (BASE + 'listen = "127.0.0.1:8080"',
     "routes.a.listen: is an address of [server], too; right would be one of its own"),
    (BASE + '[server]\nallowed_origins = ["*"]',
     'server.allowed_origins.0: not an origin; right would be "http://localhost:3000"'),
    (BASE + '[server]\nallowed_hosts = ["x.example.com:80"]',
     'server.allowed_hosts.0: "x.example.com:80" is not a host name without a port; right would be "github.localhost"'),
    (BASE + '[server]\nclient_token = ""', "server.client_token: is empty; right would be a secret, or no such key"),
    (BASE + '[server]\nclient_token = { env = "X", jsn = "y" }',
     "server.client_token.jsn: unknown key; right would be json"),
    (BASE + '[tokens]\nstore = "flie"', "tokens.store: is not a token store; right would be file"),
    (BASE + '[tokens]\nstore = "ftp://h"', f"tokens.store: is not a token store; right would be {STORES}"),
    (BASE + '[tokens]\nstore = "ftp://u:zanary-1@h"',
     f"tokens.store: is not a token store; right would be {STORES}"),
    (BASE + '[tokens]\nstore = "redis://u:zanary-1@h:x"',
     'tokens.store: is not a redis URL; right would be "redis://HOST:6379/0", "rediss://…" or "unix:///run/redis.sock"'),
    (BASE + '[tokens]\nstore = 3', f"tokens.store: is not a token store; right would be {STORES}"),
    (BASE + '[tokens]\nstore = { env = "X", jsn = "y" }', "tokens.store.jsn: unknown key; right would be json"),
    (BASE + '[tokens]\nold_keys = ["x"]', "tokens: old_keys only decrypt; right would be key, too"),
    (BASE + '[tokens]\nold_keys = [{ env = "X", jsn = "y" }]',
     "tokens.old_keys.0.jsn: unknown key; right would be json"),
    (BASE + "[tokens]\npath = 3", 'tokens.path: 3 is not a path; right would be "/…"'),
    ('[routes.a]\nupstream = "https://x"\n[routes.b]\nupstream = "https://y"\nprefix = "/"',
     "routes.b: matches the same requests as routes.a; right would be another prefix, host or listen"),
    (BASE + "[credentials]\nx = \"y\"", "credentials.x: is not a table; expected { type = \"…\", … }"),
    ('[[routes]]\nupstream = "https://a"', "routes: is not a table; expected [routes.NAME], a table for each"),
    ('[routes]\nupstream = "https://a"', "routes.upstream: is not a table; expected upstream in [routes.NAME]"),
    ('[credentials]\ntype = "none"\n' + BASE, "credentials.type: is not a table; expected type in [credentials.NAME]"),
    ("credentials = 3\n" + BASE, "credentials: 3 is not a table; expected [credentials.NAME], a table for each"),
    (BASE + 'credential = "nope"',
     'routes.a.credential: no such credential; right would be "none", or a table [credentials.NAME]'),
    (BASE + 'credential = "gitub"\n[credentials.github]\ntype = "none"',
     "routes.a.credential: no such credential; right would be github"),
    (BASE + 'credential = { type = "fallback", credentials = "none, gitub" }\n[credentials.github]\ntype = "none"',
     "routes.a.credential.credentials: no such credential; right would be github"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "mistake"), ONE)
def test_one_mistake(told: Told, text: str, mistake: str) -> None:
    assert told(text) == [mistake]


TYPES = ", ".join(name.rpartition(".")[2] for name in plugins.modules("proxy.credentials"))
OF_CREDENTIALS = [
    ('type = "bearr"', "type: no such type; right would be bearer"),
    ('type = "zzzzz"', f"type: no such type; right would be one of {TYPES}"),
    ("type = 3", f"type: no such type; right would be one of {TYPES}"),
    ("", f"type: is missing; right would be one of {TYPES}"),
    ('type = "bearer"', "token: is missing; right would be token = …"),
    ('type = "bearer"\ntoken = 77', ("token: not a secret; right would be a string or one of "
     "{ command = … }, { env = … }, { file = … }, { keyring = … }")),
    ('type = "bearer"\ntoken = { keyrign = "x" }', ("token: not a secret; right would be a string or one of "
     "{ command = … }, { env = … }, { file = … }, { keyring = … }")),
    ('type = "bearer"\ntoken = { keyring = "x" }', "token.username: is missing; right would be username = …"),
    ('type = "bearer"\ntoken = { env = "X", jsn = "y" }', "token.jsn: unknown key; right would be json"),
    ('type = "bearer"\ntoken = { command = [] }', "token.command: is empty; right would be at least one"),
    ('type = "bearer"\ntoken = ""', "token: is empty; right would be a secret, or no such key"),
    (f'type = "bearer"\ntoken = "{CANARY}"\ntokn = "{CANARY}"', "tokn: unknown key; right would be token"),
    ('type = "api_key"\nvalue = { env = "X" }', 'name: is missing; right would be name = "X-Api-Key"'),
    ('type = "api_key"\nname = "x"\nvalue = { env = "X" }\nin = "heder"',
     "in: is not allowed; right would be header"),
    ('type = "fallback"\ncredentials = ["none"]', "credentials: has too few; right would be at least 2"),
    ('type = "fallback"\ncredentials = ["a", "none"]', "credentials: leads back to itself; right would be another one"),
    ('type = "fallback"\ncredentials = ["none", 3]', 'credentials.1: is not a text; right would be "…"'),
    ('type = "python"\nclass = "nope.nope:X"',
     "class: can't be imported (ModuleNotFoundError): there is no module nope"),
    ('type = "hmac"\nsecret = { env = "X" }\nstring_to_sign = "{methd}"\nheaders = { X = "{signature}" }',
     "string_to_sign: no such field {methd}; right would be {method}"),
    ('type = "oauth2"\ngrant = "client_credentials"\nissuer = "x"\nclient_id = "x"\nclient_secret = "x"',
     'issuer: is malformed; right would be "https://login.example.com"'),
    ('type = "oauth2"\ngrant = "client_credentials"\nissuer = "https://x"\nclaims = { exp = 2026-01-01 }',
     "claims.exp: is none of JSON's values; right would be a text, a number, true, false, a list or a table"),
    ('type = "oauth2"\ngrant = "passwort"\ntoken_url = "https://x/t"\nclient_id = "x"\nclient_secret = "x"',
     "grant: is not allowed; right would be password"),
]  # fmt: skip


def places(mistake: str) -> list[str]:
    """Where a credential can have `mistake`: nothing can lead back to an inline one."""
    return ["credentials.a"] if "leads back" in mistake else ["credentials.a", "routes.b.credential"]


@pytest.mark.parametrize(
    ("text", "mistake", "place"),
    [(text, mistake, place) for text, mistake in OF_CREDENTIALS for place in places(mistake)],
)
def test_one_mistake_in_a_credential(told: Told, text: str, mistake: str, place: str) -> None:
    more = '[routes.b]\nprefix = "/b"\nupstream = "https://x"\n' if "routes" in place else ""
    (line,) = told(f"{BASE}{more}[{place}]\n{text}\n")
    assert line.replace(": string_to_sign", ".string_to_sign") == f"{place}.{mistake}"


def test_credentials_in_a_circle(told: Told) -> None:
    assert told(
        BASE + '[credentials.a]\ntype = "fallback"\ncredentials = ["b", "c"]\n[credentials.c]\ntype = "none"\n'
        '[credentials.b]\ntype = "fallback"\ncredentials = ["c", "a"]\n'
    ) == [
        "credentials.a.credentials: leads back to itself; right would be another one",
        "credentials.b.credentials: leads back to itself; right would be another one",
    ]


def test_all_mistakes_are_told_at_once_sorted_and_without_what_was_given(told: Told) -> None:
    assert told(
        f"""
        [server]
        lisen = "{CANARY}"
        listen = ["0.0.0.0:80"]
        keepalive = "{CANARY}"
        [retry]
        attempts = "{CANARY}"
        [routes.a]
        upstream = "http://api.example.com"
        prefx = "{CANARY}"
        credential = "gitub"
        [routes.b]
        [routes.c]
        upstream = "https://x"
        prefix = "/c"
        [routes.d]
        upstream = "https://y"
        prefix = "/c/"
        [credentials.github]
        type = "bearer"
        token = "{CANARY}"
        [credentials.x]
        type = "{CANARY}"
        """,
        mode=0o644,
    ) == [
        (
            "credentials.github.token: a secret stands in a file that others can read; right would be chmod 600 "
            f"{Path.cwd() / 'c.toml'}, or {{ env = … }}"
        ),
        f"credentials.x.type: no such type; right would be one of {TYPES}",
        "retry.attempts: is not a whole number; right would be digits",
        "routes.a: the upstream is plain http beyond this machine; right would be https, or insecure = true",
        "routes.a.credential: no such credential; right would be github",
        "routes.a.prefx: unknown key; right would be prefix",
        'routes.b.upstream: is missing; right would be upstream = "https://api.example.com"',
        "routes.d: matches the same requests as routes.c; right would be another prefix, host or listen",
        'server.keepalive: not a duration; right would be "250ms", "30s", "5m" or plain seconds',
        "server.lisen: unknown key; right would be listen",
        (
            "server.listen: is beyond this machine; right would be 127.0.0.1, or server.client_token, "
            "or server.trust_network = true"
        ),
    ]


def test_a_mistaken_exception_is_no_reason_for_a_second_mistake(told: Told) -> None:
    assert told(BASE + '[server]\nlisten = ["0.0.0.0:80"]\nclient_token = 3\nadmin = "0.0.0.0:1"\nadmin_token = 3') == [
        (
            "server.admin_token: not a secret; right would be a string or one of "
            "{ command = … }, { env = … }, { file = … }, { keyring = … }"
        ),
        (
            "server.client_token: not a secret; right would be a string or one of "
            "{ command = … }, { env = … }, { file = … }, { keyring = … }"
        ),
    ]


def test_a_listener_beyond_this_machine_with_a_reason(write: Write) -> None:
    load(write(BASE + '[server]\nlisten = ["0.0.0.0:80"]\nclient_token = { env = "X" }'))
    load(write(BASE + '[server]\nlisten = ["0.0.0.0:80"]\ntrust_network = true'))
    load(write(BASE + '[server]\nadmin = "0.0.0.0:80"\nadmin_token = { env = "X" }'))


def test_ports_0_may_be_the_same(write: Write) -> None:
    load(write(BASE + '[server]\nlisten = ["127.0.0.1:0"]\nadmin = "127.0.0.1:0"'))


# -- where mistakes stand ----------------------------------------------------------------------------------


def mistakes(path: Path | None = None, *arguments: object, use_file: bool = True) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, *arguments, use_file=use_file)  # type: ignore[arg-type]  # of the caller's
    return str(caught.value).splitlines()


def test_mistakes_name_the_layer_that_they_stand_in(
    monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(layers, "SECRETS_DIRECTORY", secrets)
    (secrets / "countersign_limits__body").write_text(CANARY)
    (secrets / "countersign_api_key").write_text("not ours: a secret that the file names")
    (tmp_path / ".env").write_text(f"COUNTERSIGN_RETRY__ATTEMPTS={CANARY}\n")
    env(monkeypatch, TIMEOUT__READ=CANARY, ROUTES__B__PREFIX="/b")
    path = write(f'{BASE}cookies = "{CANARY}"')
    assert mistakes(path, {"server": {"listen": [CANARY]}}) == [
        f'{secrets}/countersign_limits__body: limits.body: not a size; right would be "64KiB", "10MB" or plain bytes',
        (
            f"{tmp_path}/.env: variable COUNTERSIGN_RETRY__ATTEMPTS: retry.attempts: is not a whole number; "
            "right would be digits"
        ),
        f"{path}:3: routes.a.cookies: is not allowed; right would be one of pass, drop",
        'environment: routes.b.upstream: is missing; right would be upstream = "https://api.example.com"',
        (
            'command line: --listen: server.listen.0: not an address; right would be "127.0.0.1:8080", "[::1]:8080" or '
            '"unix:/run/x.sock"'
        ),
        (
            "environment variable COUNTERSIGN_TIMEOUT__READ: timeout.read: not a duration; right would be "
            '"250ms", "30s", "5m" or plain seconds'
        ),
    ]


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("SERVR__LISTEN", "COUNTERSIGN_SERVER__LISTEN"),
        ("SERVER_LISTEN", "COUNTERSIGN_SERVER__LISTEN"),
        ("ROUTE__API__UPSTREAM", "COUNTERSIGN_ROUTES__API__UPSTREAM"),
        ("CONFIG_FILE", "COUNTERSIGN_CONFIG"),
        ("XYZZY", ("one that begins with COUNTERSIGN_SERVER, COUNTERSIGN_TOKENS, COUNTERSIGN_RETRY, "
         "COUNTERSIGN_TIMEOUT, COUNTERSIGN_LIMITS, COUNTERSIGN_PROXY, COUNTERSIGN_NO_PROXY, COUNTERSIGN_ROUTES, "
         "COUNTERSIGN_CREDENTIALS")),
    ],
)  # fmt: skip
def test_a_variable_that_means_nothing(
    monkeypatch: pytest.MonkeyPatch, write: Write, variable: str, right: str
) -> None:
    env(monkeypatch, **{variable: CANARY})
    assert mistakes(write(BASE)) == [
        f"environment variable COUNTERSIGN_{variable}: means nothing; right would be {right}"
    ]


def test_a_variable_with_an_unknown_key(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    env(monkeypatch, SERVER__LISEN="x")
    assert mistakes(write(BASE)) == [
        "environment variable COUNTERSIGN_SERVER__LISEN: server.lisen: unknown key; right would be listen"
    ]


def test_without_any_file_and_without_any_route(monkeypatch: pytest.MonkeyPatch) -> None:
    env(monkeypatch, SERVER__ADMIN="")
    (line,) = mistakes(use_file=False)
    assert "routes: is empty" in line
    assert "None" not in line


# -- files -------------------------------------------------------------------------------------------------


def test_no_file_at_all() -> None:
    assert "right would be `countersign run --to URL`" in mistakes()[0]


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "x") == [f"{tmp_path / 'x'}: can't be read: No such file or directory"]


def test_a_folder_as_a_file(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == [f"{tmp_path}: can't be read: Is a directory"]


@pytest.mark.parametrize("mode", [0o604, 0o644])
def test_a_literal_secret_that_others_can_read_is_refused(told: Told, mode: int) -> None:
    (line,) = told(f'{BASE}[credentials."a.b"]\ntype = "bearer"\ntoken = "{CANARY}"', mode)
    assert line.startswith('credentials."a.b".token: a secret stands in a file that others can read; ')


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_literal_secret_that_others_can_not_read_is_fine(write: Write, mode: int) -> None:
    load(write(f'{BASE}[credentials.a]\ntype = "bearer"\ntoken = "{CANARY}"', mode))


def test_secrets_from_elsewhere_and_names_may_be_named_in_a_file_that_others_can_read(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    env(monkeypatch, CREDENTIALS__B__TOKEN=CANARY)
    load(write(
        BASE + '[credentials.a]\ntype = "basic"\nusername = "alice"\npassword = { env = "X" }\n'
        '[credentials.b]\ntype = "bearer"\n', 0o644
    ))  # fmt: skip


def test_a_store_is_a_secret_only_with_its_password(told: Told, write: Write) -> None:
    for store in ("file", "redis://h", "redis://u@h/1", "unix:///x"):
        load(write(f'{BASE}[tokens]\nstore = "{store}"', 0o644))
    for store in (f"redis://u:{CANARY}@h", f"rediss://:{CANARY}@h"):
        (mistake,) = told(f'{BASE}[tokens]\nstore = "{store}"', 0o644)
        assert mistake.startswith("tokens.store: a secret stands in a file that others can read; ")
        assert CANARY not in repr(load(write(f'{BASE}[tokens]\nstore = "{store}"', 0o600)))


def test_every_place_of_a_literal_secret_is_judged(told: Told) -> None:
    text = f'[server]\nclient_token = "{CANARY}"\nadmin_token = "{CANARY}"\n'
    text += f'[tokens]\nkey = "{CANARY}"\nold_keys = ["{CANARY}"]\n{BASE}'
    text += f'credential = {{ type = "bearer", token = "{CANARY}" }}'
    paths = [line.partition(":")[0] for line in told(text, 0o644)]
    assert paths == [
        "routes.a.credential.token",
        "server.admin_token",
        "server.client_token",
        "tokens.key",
        "tokens.old_keys.0",
    ]


def test_files_of_a_credential_that_are_no_certificates(told: Told) -> None:
    text = 'credential = { type = "oauth2", grant = "client_credentials", token_url = "https://x.test/", '
    text += 'client_id = "i", client_auth = "tls", tls = { cert = "/nowhere" } }'
    assert told(BASE + text) == ["routes.a.credential.tls.cert: there is no such file; right would be a PEM file"]


def test_files_that_are_no_certificates(told: Told, tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("nonsense")
    assert told(f'{BASE}tls = {{ ca = "{pem}" }}') == [
        "routes.a.tls: can't be used; right would be PEM files, and a key that belongs to cert"
    ]
    pem.write_text("nonsense", encoding="utf-8-sig")
    assert told(f'{BASE}tls = {{ ca = "{pem}" }}') == [
        "routes.a.tls.ca: begins with a byte order mark, which OpenSSL can't read; expected the PEM without it"
    ]
    assert told(f'{BASE}tls = {{ key = "{pem}" }}')[-1] == (
        "routes.a.tls.key: is the key of no certificate; right would be cert, too"
    )
    pem.write_text("nonsense")
    assert told(f'{BASE}tls = {{ key = "{pem}" }}') == [
        "routes.a.tls.key: is the key of no certificate; right would be cert, too"
    ]
    assert told(f'{BASE}tls = {{ cert = "{"x" * 300}" }}') == [
        "routes.a.tls.cert: there is no such file; right would be a PEM file"
    ]


def test_absurd_numbers_and_depths_are_mistakes(told: Told) -> None:
    assert "nested too deeply" in told("a = " + "[" * 5000)[0]
    assert "thousands of digits" in told("a = " + "9" * 5000)[0]
    huge = "9" * 400
    for text in (
        f'limits.body = "{huge}"',
        f"timeout.read = {huge}",
        f"retry.budget = {huge}",
        f'timeout.read = "{huge}"',
    ):
        assert text.partition(" ")[0] in told(text)[0] + told(text)[-1]


# -- references that are written as texts ------------------------------------------------------------------

FORMS = ("env:API_TOKEN", "$API_TOKEN", "${API_TOKEN}", "file:/x", "command:x", "keyring:a/b", "%API_TOKEN%")
SECRET_KEYS = {
    "server.client_token": '[server]\nclient_token = "SECRET"\n' + BASE,
    "server.admin_token": '[server]\nadmin_token = "SECRET"\n' + BASE,
    "tokens.key": '[tokens]\nkey = "SECRET"\n' + BASE,
    "tokens.old_keys.0": '[tokens]\nkey = "x"\nold_keys = ["SECRET"]\n' + BASE,
    "routes.a.credential.token": BASE + 'credential = { type = "bearer", token = "SECRET" }',
    "routes.a.credential.username": BASE + 'credential = { type = "basic", username = "SECRET", password = "x" }',
    "routes.a.credential.password": BASE + 'credential = { type = "basic", username = "x", password = "SECRET" }',
    "credentials.k.value": BASE + '[credentials.k]\ntype = "api_key"\nname = "x"\nvalue = "SECRET"',
    "credentials.h.secret": BASE
    + '[credentials.h]\ntype = "hmac"\nsecret = "SECRET"\nstring_to_sign = "x"\nheaders = { X = "{signature}" }',
    "credentials.o.client_secret": BASE + '[credentials.o]\ntype = "oauth2"\ngrant = "client_credentials"\n'
    'token_url = "https://x/"\nclient_id = "i"\nclient_secret = "SECRET"',
    "credentials.s.login.form.password": BASE
    + '[credentials.s]\ntype = "session"\nlogin = { url = "https://x/", form = { password = "SECRET" } }',
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", SECRET_KEYS)
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_reference_that_is_written_as_a_text_is_no_secret(told: Told, key: str, form: str, mode: int) -> None:
    (text,) = told(SECRET_KEYS[key].replace("SECRET", form), mode)[-1:]
    assert text.startswith(f"{key}: is a reference that is written as a text; expected {{ ")
    assert ('{ env = "API_TOKEN" }' in text) == ("API_TOKEN" in form)
    assert text.endswith('or { literal = "…" } for this text')


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_table_makes_a_secret_of_it(write: Write, key: str) -> None:
    found = load(write(SECRET_KEYS[key].replace('"SECRET"', '{ literal = "$API_TOKEN" }')))
    assert ".".join(dict(found.secrets())[tuple(key.split("."))].where.split()) == "the.configuration"


def test_such_a_table_is_a_secret_in_the_file_too(told: Told) -> None:
    text = BASE + f'credential = {{ type = "bearer", token = {{ literal = "{CANARY}" }} }}'
    assert "a secret stands in a file that others can read" in told(text, 0o644)[0]
    assert told(BASE + 'credential = { type = "bearer", token = { literal = "" } }') == [
        "routes.a.credential.token: is empty; right would be a secret, or no such key"
    ]
    (unknown,) = told(BASE + 'credential = { type = "bearer", token = { literal = "x", jsn = "a" } }')
    assert unknown == "routes.a.credential.token.jsn: unknown key; right would be json"


def test_a_secret_in_a_variable_may_begin_with_a_dollar(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(BASE + 'credential = { type = "bearer", token = "$OVERRIDDEN" }')
    env(monkeypatch, ROUTES__A__CREDENTIAL__TOKEN="$ecret")
    load(path)
    env(monkeypatch, ROUTES__A__CREDENTIAL__TOKEN="env:API_TOKEN")
    with pytest.raises(
        ConfigError, match=r"TOKEN: routes.a.credential.token: is a reference .* \{ env = \"API_TOKEN\""
    ):
        load(path)
    env(monkeypatch, ROUTES__A__CREDENTIAL__TOKEN='{"literal": "env:API_TOKEN"}')
    load(path)


def test_dotenv_is_not_expanded_and_says_so(write: Write) -> None:
    path = write(BASE + 'credential = { type = "bearer", token = { env = "X" } }')
    Path(".env").write_text("COUNTERSIGN_ROUTES__A__CREDENTIAL__TOKEN=${API_TOKEN}\n")
    with pytest.raises(ConfigError, match=r"/\.env: variable .*: is a reference"):
        load(path)


def test_a_reference_in_place_of_a_store(told: Told) -> None:
    (text,) = told('[tokens]\nstore = "env:REDIS_URL"\n' + BASE)
    assert text == 'tokens.store: is not a token store; right would be { env = "REDIS_URL" }'


# -- secrets don't show ------------------------------------------------------------------------------------


def test_literal_secrets_do_not_show(write: Write) -> None:
    found = load(write(
        f'[server]\nclient_token = "{CANARY}"\nadmin_token = "{CANARY}"\n[tokens]\nkey = "{CANARY}"\n{BASE}'
        f'credential = {{ type = "basic", username = "{CANARY}", password = "{CANARY}" }}\n'
        f'[credentials.a]\ntype = "api_key"\nname = "x"\nvalue = "{CANARY}"\n'
        f'[credentials.b]\ntype = "hmac"\nsecret = "{CANARY}"\nstring_to_sign = "x"\n'
        'headers = { X = "{signature}" }\n'
    ))  # fmt: skip
    assert len(list(found.secrets())) == 7
    for shown in (repr(found), str(found), str(found.model_dump())):
        assert CANARY not in shown


TABLES = ("server", "tokens", "retry", "timeout", "limits", "routes", "credentials", "unknown")
KEYS = st.sampled_from([
    "listen", "admin", "client_token", "admin_token", "trust_network", "allowed_origins", "store", "path", "key",
    "attempts", "statuses", "methods", "budget", "read", "total", "body", "concurrency", "upstream", "credential",
    "prefix", "host", "allow", "tls", "retry", "proxy", "request_headers", "type", "token", "username", "password",
    "value", "name", "in", "secret", "string_to_sign", "headers", "query", "credentials", "grant", "token_url",
    "client_id", "client_secret", "scope", "extra", "class", "env", "file", "command", "json", "a", "b", "x.y", "",
])  # fmt: skip
LEAVES = st.one_of(
    st.sampled_from([CANARY, f"https://u:{CANARY}@h/?q={CANARY}", f"{{{CANARY}}}", "{signature}", "127.0.0.1:0", "a",
                     "bearer", "basic", "api_key", "hmac", "oauth2", "fallback", "digest", "none", "python",
                     "https://api.example.com", "http://x", "GET /**", "httpx:BasicAuth", "client_credentials", "5m"]),
    st.booleans(), st.integers(), st.floats(), st.none(),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(st.sampled_from(TABLES), st.dictionaries(KEYS, VALUES, max_size=4) | VALUES, max_size=5))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_is_a_configuration_or_a_config_error(table: dict[str, object]) -> None:
    text = ""
    try:
        found = repr(load(overrides=table, use_file=False))
    except ConfigError as failure:
        found, text = "", str(failure)
    assert bool(found) != bool(text)
    assert CANARY not in text


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_a_configuration_or_a_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("line", ['digest = "x"'])
def test_a_key_that_is_not_built_yet_is_unknown(told: Told, line: str) -> None:
    (mistake,) = told(BASE + line)
    assert mistake.startswith(f"routes.a.{line.partition(' ')[0]}: unknown key; right would be ")


def test_the_proxys_own_variables_are_kept_from_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ("LET_IN", "ADMIN_TOKEN", "KEY", "OLD", "REDIS_URL")
    for name in (*own, "API_TOKEN"):
        monkeypatch.setenv(name, "redis://localhost")
    table: dict[str, Any] = {
        "server": {"client_token": {"env": "LET_IN"}, "admin_token": {"env": "ADMIN_TOKEN"}},
        "tokens": {"store": {"env": "REDIS_URL"}, "key": {"env": "KEY"}, "old_keys": [{"env": "OLD"}]},
        "routes": {"a": {"upstream": "https://a", "credential": {"type": "bearer", "token": {"env": "API_TOKEN"}}}},
    }
    assert environment.for_programs()["LET_IN"]
    load(overrides=table, use_file=False)
    assert not set(own) & environment.for_programs().keys()
    assert environment.for_programs()["API_TOKEN"]


@pytest.mark.parametrize("section", ["Server", "tOkens", "ROUTES"])
def test_a_section_in_another_case_is_unknown_and_never_left_out_silently(told: Told, section: str) -> None:
    for text in (f"{BASE}[{section}]\nx = 1\n", f"{BASE}[{section}.a]\n"):
        assert told(text) == [f"{section}: unknown key; right would be {section.lower()}"]
    assert f"{section}: unknown key; right would be {section.lower()}" in told(f"[{section}.a]\n")
