"""Where values come from: how variables are read, which file is found, which layer wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy import environment, layers
from proxy.errors import ConfigError
from proxy.layers import Layer, find, gather, merged, read, sources


def from_environment(monkeypatch: pytest.MonkeyPatch, below: str = "", **variables: str) -> Layer:
    file = Path("below.toml")
    file.write_text(below)
    for name, value in variables.items():
        monkeypatch.setenv(f"COUNTERSIGN_{name}", value)
    return gather(file, {})[3]


# -- variables ---------------------------------------------------------------------------------------------


def test_two_underscores_lead_into_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = from_environment(monkeypatch, ROUTES__A__RETRY__ATTEMPTS="3", RETRY__BUDGET="1")
    assert layer.table == {"routes": {"a": {"retry": {"attempts": "3"}}}, "retry": {"budget": "1"}}


def test_a_table_as_json_and_one_key_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = from_environment(monkeypatch, ROUTES__A__PREFIX="/x", ROUTES='{"a": {"prefix": "/y", "host": "h"}}')
    assert layer.table == {"routes": {"a": {"prefix": "/x", "host": "h"}}}


def test_a_key_below_a_text_outdoes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment(monkeypatch, A="text", A__B="x").table == {"a": {"b": "x"}}


@pytest.mark.parametrize("text", ["[1", "{x}", "[" * 5000])
def test_what_only_begins_like_json_is_a_text(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert from_environment(monkeypatch, A=text).table == {"a": text}


def test_names_are_spelled_as_the_file_spells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = from_environment(
        monkeypatch, "[routes.Git-Hub]\n[routes.x]\n[routes.X]\n", ROUTES__GIT_HUB__A="1", ROUTES__X__A="2"
    )
    assert layer.table == {"routes": {"Git-Hub": {"a": "1"}, "x": {"a": "2"}}}


def test_what_names_the_file_and_the_store_s_key_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_environment(monkeypatch, CONFIG="x", STORE_KEY="y").table == {}


def test_the_place_of_a_key_is_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = from_environment(monkeypatch, ROUTES='{"b": {}}', ROUTES__A__PREFIX="/x")
    assert layer.place(("routes", "a", "prefix")) == "environment variable COUNTERSIGN_ROUTES__A__PREFIX"
    assert layer.place(("routes", "a")) == "environment variable COUNTERSIGN_ROUTES__A__PREFIX"
    assert layer.place(("routes", "b", "prefix")) == "environment variable COUNTERSIGN_ROUTES"
    assert layer.place(("server",)) == "environment"
    assert layer.place(()) == "environment"


def test_depth_is_how_many_keys_are_there() -> None:
    layer = Layer("x", {"a": {"b": 1}})
    assert [layer.depth(path) for path in [("a", "b"), ("a", "c"), ("c",), ("a", "b", "c"), ()]] == [2, 1, 0, 2, 0]


# -- dotenv and the secrets directory ----------------------------------------------------------------------


def test_the_environment_outdoes_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("COUNTERSIGN_A__B=1\nCOUNTERSIGN_A__C=2\nNOTHING\n")
    Path("x.toml").touch()
    monkeypatch.setenv("COUNTERSIGN_A__B", "3")
    found = gather(Path("x.toml"), {})
    assert [layer.name for layer in found] == ["x.toml", "/run/secrets", ".env", "environment", "command line"]
    assert merged(found) == {"a": {"b": "3", "c": "2"}}


def test_a_line_feed_at_the_end_of_a_variable_is_no_part_of_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text('COUNTERSIGN_A__B="1\\r\\n"\n')
    Path("x.toml").touch()
    monkeypatch.setenv("COUNTERSIGN_A__C", "https://api.test\n")
    assert merged(gather(Path("x.toml"), {})) == {"a": {"b": "1", "c": "https://api.test"}}


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\xff", ".env: is not UTF-8 text"), ("A=1".encode("utf-16"), ".env: is UTF-16 text; expected UTF-8")],
)
def test_dotenv_that_is_no_text(content: bytes, text: str) -> None:
    Path(".env").write_bytes(content)
    Path("x.toml").touch()
    with pytest.raises(ConfigError, match=text):
        gather(Path("x.toml"), {})


def test_dotenv_that_can_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object = None) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment, "read_dotenv", refuse)
    Path("x.toml").touch()
    with pytest.raises(ConfigError, match=r"\.env: can't be read: Permission denied"):
        gather(Path("x.toml"), {})


@pytest.mark.parametrize("named", [None, "elsewhere/x.toml", "config/countersign/countersign.toml"])
def test_dotenv_is_read_beside_the_file_and_nowhere_else(monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    hostile = "COUNTERSIGN_ROUTES__DEFAULT__UPSTREAM=http://evil.test\nCOUNTERSIGN_CONFIG=evil.toml\n"
    Path(".env").write_text(hostile)
    Path("evil.toml").write_text("evil = 1")
    if named is None:
        assert merged(gather(None, {}, use_file=False)) == {}
        return
    file = Path(named)
    file.parent.mkdir(parents=True)
    file.touch()
    (file.parent / ".env").write_text("COUNTERSIGN_A__B=1\n")
    found = gather(file if "elsewhere" in named else None, {})
    assert merged(found) == {"a": {"b": "1"}}
    assert sources(found) == [str(file.absolute()), str((file.parent / ".env").absolute())]
    assert environment.current().folder == file.parent.absolute()


def test_nor_does_the_one_beside_an_earlier_file_count_any_more() -> None:
    Path("other").mkdir()
    for name in ("x.toml", "other/x.toml"):
        Path(name).touch()
    Path(".env").write_text("COUNTERSIGN_A__B=1\n")
    assert merged(gather(Path("x.toml"), {})) == {"a": {"b": "1"}}
    assert merged(gather(Path("other/x.toml"), {})) == merged(gather(None, {}, use_file=False)) == {}


@pytest.mark.parametrize("name", ["x.toml", ".env", "secrets/COUNTERSIGN_A__B"])
def test_a_file_that_others_can_write_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(layers, "SECRETS_DIRECTORY", tmp_path / "secrets")
    Path("secrets").mkdir()
    Path("x.toml").touch()
    Path(name).write_text("")
    gather(Path("x.toml"), {})
    Path(name).chmod(0o606)
    with pytest.raises(ConfigError, match=rf"{name}: other users can write it; expected: chmod o-w .*{name}$"):
        gather(Path("x.toml"), {})


def test_only_files_that_name_a_key_are_read_from_the_secrets_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(layers, "SECRETS_DIRECTORY", tmp_path)
    (tmp_path / "countersign_credentials__a__token").write_text("x\n")
    (tmp_path / "countersign_tokens").write_text("not ours")
    (tmp_path / "other").write_bytes(b"\xff")
    layer = gather(None, {}, use_file=False)[0]
    assert layer.table == {"credentials": {"a": {"token": "x"}}}
    (tmp_path / "countersign_credentials__a__token").write_text("x\n", encoding="utf-8-sig")
    assert gather(None, {}, use_file=False)[0].table == {"credentials": {"a": {"token": "x"}}}
    (tmp_path / "COUNTERSIGN_A__B").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="COUNTERSIGN_A__B: is not UTF-8 text"):
        gather(None, {}, use_file=False)


# -- the file ----------------------------------------------------------------------------------------------


def test_the_first_file_that_exists_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find() is None or find() == Path("/etc/countersign/countersign.toml")
    home = tmp_path / "config/countersign/countersign.toml"
    home.parent.mkdir(parents=True)
    home.touch()
    assert find() == home
    Path("countersign.toml").touch()
    assert find() == Path("countersign.toml")
    monkeypatch.setenv("COUNTERSIGN_CONFIG", "/elsewhere")
    assert find() == Path("/elsewhere")


def test_the_home_is_used_without_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / ".config/countersign/countersign.toml"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find() == file


def test_a_file_may_be_wanted_and_not_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(layers, "find", lambda: None)
    assert len(gather(None, {}, need_file=False)) == 3
    with pytest.raises(ConfigError, match="no configuration found") as caught:
        gather(None, {})
    home = f"{tmp_path}/config/countersign/countersign.toml"
    places = ("--config", "$COUNTERSIGN_CONFIG", "./countersign.toml", home, "/etc/countersign/countersign.toml")
    for place in places:
        assert place in str(caught.value)


def test_a_byte_order_mark_is_not_part_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a = 'ä'", encoding="utf-8-sig")
    assert read(path) == ("a = 'ä'", {"a": "ä"})


@pytest.mark.parametrize(
    ("codec", "text"), [("utf-16", "x: is UTF-16 text; expected UTF-8"), ("latin-1", "x: is not UTF-8 text")]
)
def test_another_encoding_is_told(tmp_path: Path, codec: str, text: str) -> None:
    path = tmp_path / "x"
    path.write_text("a = 'ä'", encoding=codec)
    with pytest.raises(ConfigError, match=text):
        read(path)


def test_what_is_no_toml_is_told_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text('token = "c4n4ry')
    with pytest.raises(ConfigError, match=r"x: is not TOML: ") as caught:
        read(path)
    assert "c4n4ry" not in str(caught.value)


def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("[routes.a]\nupstream = https://a\n")
    with pytest.raises(ConfigError, match=r"x:2: is not TOML: Invalid value"):
        read(path)


def test_whole_tables_replace_each_other() -> None:
    below, above = Layer("a", {"x": {"y": 1}, "z": {"y": 1}}), Layer("b", {"x": {"w": 2}, "z": 3})
    assert merged([below, above]) == {"x": {"y": 1, "w": 2}, "z": 3}
    assert merged([below, above], lambda table: isinstance(table, dict)) == {"x": {"w": 2}, "z": 3}
    assert below.table == {"x": {"y": 1}, "z": {"y": 1}}


def test_a_mistake_in_the_file_is_on_a_line() -> None:
    file = Path("x.toml")
    file.write_text('# one\n[routes."a.b"]\nlisten = [\n  "x",\n  "y",\n]\n')
    layer = gather(file, {})[0]
    found = {path: layer.place(path) for path in [
        ("routes", "a.b", "listen", "1"), ("routes", "a.b", "upstream"), ("routes", "a.b"), ("routes",), ("server",), ()
    ]}  # fmt: skip
    assert list(found.values()) == ["x.toml:5", "x.toml:2", "x.toml:2", "x.toml:2", "x.toml", "x.toml"]


def test_the_files_that_were_read_are_named_without_what_they_hold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setattr(layers, "SECRETS_DIRECTORY", secrets)
    (secrets / "countersign_a__b").write_text("c4n4ry")
    (secrets / "other").write_text("c4n4ry")
    Path("x.toml").touch()
    assert sources(gather(None, {}, use_file=False)) == [f"{secrets}/countersign_a__b"]
    Path(".env").write_text("COUNTERSIGN_A__C=c4n4ry\n")
    found = sources(gather(Path("x.toml"), {"a": {"d": "c4n4ry"}}))
    assert found == [f"{tmp_path}/x.toml", f"{secrets}/countersign_a__b", f"{tmp_path}/.env"]
