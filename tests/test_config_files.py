"""The files in config/ are what people copy: each loads as it is, resolves its secrets, and starts a proxy."""

from __future__ import annotations

import json
import pickle
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from proxy.app import App
from proxy.cli.check import unresolved
from proxy.cli.schema import schema
from proxy.config import Settings, load
from proxy.log import Log

CONFIG = Path(__file__).resolve().parents[1] / "config"
FILES = sorted(path.name for path in CONFIG.glob("*.toml"))
MOUNTED = "/run/secrets"  # where container engines put secrets
MOUNTS = {"redis_url": "redis://:value@127.0.0.1:1/0"}  # where nobody is; of other secrets any text will do

SECRETS = ("client_secret", "key", "password", "refresh_token", "secret", "token", "value")


def named(table: object, key: str) -> Iterator[object]:
    """The values of `key`, in whatever table."""
    if isinstance(table, dict):
        if key in table:
            yield table[key]
        for value in table.values():
            yield from named(value, key)


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of config/, with what its secrets name in place; mounted ones are mounted elsewhere."""
    name = str(request.param)
    text = (CONFIG / name).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    for variable in named(table, "env"):
        monkeypatch.setenv(str(variable), f"value of {variable}")
    for mounted in named(table, "file"):
        assert str(mounted).startswith(f"{MOUNTED}/")
        name_of_file = Path(str(mounted)).name
        (tmp_path / name_of_file).write_text(MOUNTS.get(name_of_file, "value") + "\n")
    copy = tmp_path / name
    copy.write_text(text.replace(MOUNTED, str(tmp_path)))
    copy.chmod(0o644)  # none of them holds a secret
    return copy


def test_the_promised_files_are_there() -> None:
    assert {"minimal.toml", "routes.toml", "oauth2.toml", "hmac.toml", "docker.toml", "sidecars.toml"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_each_file_says_on_top_what_it_shows(name: str) -> None:
    head = (CONFIG / name).read_text(encoding="utf-8").removeprefix("#:schema ./schema.json\n")
    assert head.startswith("# Shows: ")


def test_the_smallest_file_is_at_most_ten_lines() -> None:
    assert len((CONFIG / "minimal.toml").read_text().splitlines()) <= 10


async def test_each_file_loads_and_all_its_secrets_can_be_had(path: Path) -> None:
    settings = load(path)
    assert settings.routes
    assert await unresolved(settings) == []


async def test_each_file_starts_a_proxy(path: Path) -> None:
    own = {name: {"listen": f"unix:{path.parent / name}"} for name, route in load(path).routes.items() if route.listen}
    server = {"listen": ["127.0.0.1:0"], "admin": "localhost:0"}
    app = App(load(path, {"server": server, "routes": own}), Log(requests=False))
    await app.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{app.addresses[0]}/..;/", headers={"Host": "evil.example.com"})
    finally:
        await app.aclose()
    assert answer.status_code in (400, 421)
    assert answer.headers["Proxy-Status"].startswith("countersign; error=")


@pytest.mark.parametrize("name", FILES)
def test_no_file_holds_a_secret_itself(name: str) -> None:
    table = tomllib.loads((CONFIG / name).read_text(encoding="utf-8"))
    literal = {key for key in SECRETS for value in named(table, key) if isinstance(value, str)}
    assert literal == set()


# -- the schema --------------------------------------------------------------------------------------------


def test_the_schema_file_is_what_the_command_prints() -> None:
    kept = json.loads((CONFIG / "schema.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(schema(), default=str)), "right would be: make schema"


def test_the_schema_says_nothing_of_the_machine_that_wrote_it() -> None:
    assert not re.search(r"/home/|/root/|/Users/", json.dumps(schema(), default=str))


def test_the_schema_names_every_table() -> None:
    assert schema()["properties"].keys() == Settings.model_fields.keys()


def test_each_configuration_can_be_handed_to_another_process(path: Path) -> None:
    found = load(path)
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
