"""What the pages say is true: their configurations load, their keys and defaults are those of the code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from proxy import errors, plugins
from proxy.config import ServerSettings, Settings, load
from proxy.credentials import Credential
from proxy.gateway.body import LimitSettings
from proxy.gateway.retry import RetrySettings
from proxy.gateway.settings import RouteSettings, TimeoutSettings
from proxy.stores.settings import TokenSettings
from proxy.transport.proxies import ProxySettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLES: dict[str, type[BaseModel]] = {
    "": ProxySettings,
    "server": ServerSettings,
    "tokens": TokenSettings,
    "retry": RetrySettings,
    "timeout": TimeoutSettings,
    "limits": LimitSettings,
    "routes.NAME": RouteSettings,
}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def configurations() -> Iterator[str]:
    for page in PAGES:
        yield from (
            block for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL) if "[routes." in block
        )


@pytest.mark.parametrize("block", list(configurations()))
def test_a_configuration_in_the_pages_loads(block: str, tmp_path: Path) -> None:
    file = tmp_path / "countersign.toml"
    file.write_text(block)
    assert load(file).routes


def rows() -> Iterator[tuple[str, str, str]]:
    """Table, key and default of each row in configuration.md."""
    section = ""
    for line in text("docs/configuration.md").splitlines():
        if line.startswith("## "):
            section = line.strip("# `[]") if line.count("`") == 2 else ""
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for key in re.findall(r"`([a-z0-9_.]+)`", cells[0]) if len(cells) == 3 else ():
            prefix, _, name = key.rpartition(".")
            yield prefix or section, name, cells[1]


def test_every_key_of_the_configuration_is_told() -> None:
    told = {(table, key) for table, key, _ in rows()}
    real = {
        (table, field.alias or name) for table, model in TABLES.items() for name, field in model.model_fields.items()
    }
    assert told == real
    tables = {table.partition(".")[0] for table in TABLES if table}
    assert tables | {"credentials", *ProxySettings.model_fields} == Settings.model_fields.keys()


@pytest.mark.parametrize(("table", "key", "default"), [row for row in rows() if row[2].startswith("`")])
def test_a_default_is_what_the_page_says(table: str, key: str, default: str) -> None:
    if "$" in default:
        return  # a path
    value = tomllib.loads(f"value = {default.strip('`')}")["value"]
    needed = {"upstream": "https://api.example.com"} if table == "routes.NAME" else {}
    model = TABLES[table]
    assert getattr(model.model_validate({**needed, key: value}), key) == getattr(model.model_validate(needed), key)


def test_every_type_of_credential_is_told() -> None:
    page = text("docs/credentials.md")
    for credential in plugins.members("proxy.credentials", Credential):
        name = credential.model_json_schema()["properties"]["type"]["const"]
        assert f"| `{name}` |" in page
        for key, field in credential.model_fields.items():
            assert key == "type" or f"`{field.alias or key}`" in page, f"{name}: {key}"


def test_every_error_is_told_with_its_status() -> None:
    table = re.findall(r"^\| ([\d ]+)(?: \+ `Retry-After`)? \| (.*?) \|", text("docs/behaviour.md"), re.MULTILINE)
    told = {
        (int(status), kind)
        for statuses, kinds in table
        for status in statuses.split()
        for kind in kinds.replace("`", " ").replace(",", " ").split()
    }
    real = {
        (error.status, error.error)
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.ProxyError)
        if error not in (errors.UpstreamError, errors.AdminTokenNeeded)
    }
    assert told == real


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_tests_that_the_pages_name_are_there() -> None:
    named = re.findall(r"\b(tests/[\w/]+\.py)", "".join(page.read_text() for page in PAGES))
    named += [f"tests/{name}" for name in re.findall(r"`([\w/]+\.py)`", text("docs/security.md"))]
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []
