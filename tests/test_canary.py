"""The law that no secret shows can fail, and what pytest itself prints of a failure keeps it."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

import proxy
from proxy.demo import accounts
from proxy.keys import SigningKey
from tests.watching import SHORTEST, Watch, parts, shown

ROOT = Path(__file__).resolve().parents[1]
SECRET = "Ab+c/d?e&f=9~\N{LATIN SMALL LETTER E WITH ACUTE}\\\"'"
FORMS = {
    "raw": SECRET,
    "in a list of Python's": repr([SECRET]),
    "in a dump of bytes": repr(SECRET.encode())[2:-1],
    "in JSON": json.dumps({"a": SECRET}),
    "hex": SECRET.encode().hex(),
    "upper hex": SECRET.encode().hex().upper(),
    "quoted": quote(SECRET),
    "wholly quoted": quote(SECRET, safe=""),
    "of a form": quote_plus(SECRET),
    "every byte quoted": "".join(f"%{byte:02X}" for byte in SECRET.encode()),
    "quoted base64": quote(b64encode(SECRET.encode()).decode(), safe=""),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_seen_in_any_form(form: str) -> None:
    assert shown(f"before {form} after", {SECRET}) == SECRET


@given(st.binary(max_size=7), st.binary(max_size=7), st.sampled_from([b64encode, urlsafe_b64encode]), st.booleans())
def test_a_secret_is_seen_in_base64_whatever_stands_beside_it(
    left: bytes, right: bytes, encode: object, padded: bool
) -> None:
    assert callable(encode)
    text = encode(left + SECRET.encode() + right).decode()
    assert shown(f"x {text if padded else text.rstrip('=')} x", {SECRET}) == SECRET


@pytest.mark.parametrize(
    "text",
    [
        f"token={accounts.BEARER_TOKEN}",
        accounts.PASSWORD.encode().hex(),
        b64encode(f"{accounts.USERNAME}:{accounts.PASSWORD}".encode()).decode(),
        quote(accounts.CLIENT_SECRET, safe=""),
        "the s3cret",
    ],
)
def test_some_are_always_known(text: str) -> None:
    assert shown(f"before {text} after")


def test_other_texts_are_not_secrets() -> None:
    text = "200 GET /a [demo] 3ms the environment variable API_TOKEN is not set"
    assert shown(text, {SECRET}) is None


def test_keys_and_cookies_are_known_in_parts() -> None:
    jwk = json.loads(SigningKey.generate().private_jwk())
    assert list(parts(json.dumps(jwk))) == [jwk["d"]]
    assert list(parts("-----BEGIN PRIVATE KEY-----\nMIIE\nAAAA\n-----END PRIVATE KEY-----\n")) == ["MIIE", "AAAA"]
    assert list(parts('[{"name": "sid", "value": "v"}]')) == ["v"]
    assert list(parts("{not JSON")) == ["{not JSON"]


def test_where_it_shows_is_said_and_not_what() -> None:
    watch = Watch()
    watch.know("x" * (SHORTEST - 1))
    watch.know(SECRET)
    watch.hear("a page", "x" * SHORTEST)
    assert watch.shown() is None
    watch.hear("the log", f"oops: {SECRET}")
    assert watch.shown() == "the log shows a secret (Ab+c…)"
    watch.hear("a page", "status page: http://127.0.0.1:1/?token=" + SECRET)
    assert watch.said[-1] == ("a page", "")


# -- values ------------------------------------------------------------------------------------------------

SUSPECT = re.compile(
    r"token|secret|key|auth|verifier|code|state|query|target|fields|headers|body|table|value|password|cookie|content|jwk"
)
HARMLESS = {
    "proxy.cli.tokens.Entry.token": "masks itself",
    "proxy.credentials.Context.tokens": "makes sources of tokens",
    "proxy.credentials.hmac.Plan.headers": "templates",
    "proxy.credentials.hmac.Plan.query": "templates",
    "proxy.credentials.hmac.Plan.secrets": "sources, which mask themselves",
    "proxy.gateway.guard.Verdict.authority": "a host and a port",
    "proxy.gateway.rewrite.Place.authority": "a host and a port",
    "proxy.gateway.route.Lease.body": "masks itself",
    "proxy.mistakes._Place.table": "a schema",
    "proxy.report.Report.tokens": "when they expire",
    "proxy.tokens.Client.token_url": "stands in the configuration",
    "proxy.transport.connection.Limits.max_fields": "a number",
    "proxy.workers.Answer.value": "a report, or problems",
}


def shown_fields() -> Iterator[str]:
    """Fields that the dataclasses of all modules show, and whose names are suspect."""
    modules = [importlib.import_module(each.name) for each in pkgutil.walk_packages(proxy.__path__, "proxy.")]
    for kind in {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}:
        if is_dataclass(kind) and kind.__module__.startswith("proxy.") and ".demo" not in kind.__module__:
            shows = hasattr(kind.__repr__, "__wrapped__")  # is one that dataclasses make
            for each in fields(kind) if shows else ():
                if each.repr and SUSPECT.search(each.name):
                    yield f"{kind.__module__}.{kind.__qualname__}.{each.name}"


def test_no_value_shows_a_field_that_could_be_secret() -> None:
    assert set(shown_fields()) == set(HARMLESS)


# -- in pytest's own output --------------------------------------------------------------------------------

SECRETS = {name: f"{name}{os.urandom(12).hex()}" for name in ("bearer", "basic", "admin", "access", "refresh", "store")}
CONFIG = f"""
[server]
admin_token = "{SECRETS["admin"]}"
[tokens]
path = "tokens.json"
key = "{SECRETS["store"]}"
[routes.a]
upstream = "http://127.0.0.1:1"
prefix = "/a"
credential = {{ type = "bearer", token = "{SECRETS["bearer"]}" }}
[routes.b]
upstream = "http://127.0.0.1:1"
prefix = "/b"
credential = "b"
[credentials.b]
type = "basic"
username = "u"
password = "{SECRETS["basic"]}"
[credentials.c]
type = "oauth2"
grant = "client_credentials"
token_url = "http://127.0.0.1:1/token"
client_id = "c"
client_secret = "{SECRETS["basic"]}"
"""
TESTS = """
import asyncio, json, logging
from pathlib import Path

import httpx
import click
import pytest
from click.testing import CliRunner

from proxy.app import App
from proxy.config import load
from proxy.credentials._cookies import parse
from proxy.errors import CredentialError
from proxy.gateway import Entrance, Inbound, Story
from proxy.gateway.guard import Guard
from proxy.gateway.headers import read
from proxy.gateway.problem import problem, proxy_status
from proxy.keys import SigningKey
from proxy.log import Log
from proxy.secrets import parse_secret
from proxy.stores import Token

STORY = Story("GET", "/", 0.0)


def kept():
    return Token(*json.loads(Path("token.json").read_text()))


def log(text):
    logging.getLogger("a").debug(text)


def answered(text):
    failure = CredentialError()
    failure.detail = text
    problem(failure, STORY)


def command(text):
    CliRunner().invoke(click.command()(lambda: click.echo(text)), [])


SAYS = [print, log, Log().error, CredentialError, answered, proxy_status, command]


@pytest.mark.parametrize("say", SAYS)
def test_that_shows(say):
    say(kept().refresh_token)


def test_that_reads_what_it_shows(capsys):
    print(kept().refresh_token)
    capsys.readouterr()


async def given(secret):
    fields = [(b"Host", b"a"), (b"X-Countersign-Token", secret.encode())]
    await Guard().admit(Inbound("GET", b"/", read(fields), (1, 1), Entrance("a"), STORY))


async def loaded(secret):
    await parse_secret(secret).get()


async def signed(secret):
    SigningKey.shared(secret)


async def cookie(secret):
    parse(f"a={secret}", httpx.URL("http://a/"), 0.0)


@pytest.mark.parametrize("know", [given, loaded, signed, cookie])
async def test_that_knows(know):
    secret = kept().access_token[::-1]
    await know(secret)
    print(secret.encode().hex())


async def test_that_fails():
    settings = load(Path("countersign.toml"))
    app = App(settings, Log())
    await app.open()
    token = kept()
    key = SigningKey.load(token.dpop_key)
    sources = dict(settings.secrets())
    values = [await source.get() for source in sources.values()] and None
    schemes = {name: app.scheme(name) for name in settings.credentials}
    request = httpx.Request("GET", "http://127.0.0.1:1/", extensions={"target": b"/"})
    await schemes["b"].apply(request)
    parts = [vars(each) for each in (app, key._key.__class__, app._now, app.store, *app.routes)]
    models = [each.credential for each in settings.routes.values()], settings.model_dump(), str(settings)
    raise RuntimeError([token, key, settings, app, sources, schemes])
"""


def test_a_failure_shows_no_secret_that_its_values_hold(tmp_path: Path) -> None:
    key = SigningKey.generate().private_jwk()
    (tmp_path / "countersign.toml").write_text(CONFIG)
    (tmp_path / "countersign.toml").chmod(0o600)
    (tmp_path / "token.json").write_text(
        json.dumps([SECRETS["access"], None, SECRETS["refresh"], None, "DPoP", 0, key])
    )
    (tmp_path / "test_inner.py").write_text(TESTS)
    options = ("-p", "no:cacheprovider", "-p", "tests.canary", "-o", "asyncio_mode=auto", "--showlocals", "-vv")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--tb=long", "test_inner.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # Each is told twice: as an error, and in the summary.
    assert done.stdout.count(f"shows a secret ({SECRETS['refresh'][:4]}…)") == 2 * 8, done.stdout
    assert done.stdout.count(f"shows a secret ({SECRETS['access'][:-5:-1]}…)") == 2 * 4, done.stdout
    failure = done.stdout.partition("test_that_fails _")[2]
    assert failure.count("models     = ") == 1
    assert shown(done.stderr + failure, {*SECRETS.values(), json.loads(key)["d"]}) is None
