from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy import environment
from proxy.environment import Environment


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_what_the_file_says_stands_below_the_environment(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_BOTH", "process")
    dotenv.write_text("OF_BOTH=file\nOF_FILE='quoted # text'\nexport EXPORTED=x # comment\nEMPTY=\nNO_VALUE\n")
    environment.read_dotenv(dotenv)
    found = {name: environment.get(name) for name in ("OF_BOTH", "OF_FILE", "EXPORTED", "EMPTY", "NO_VALUE")}
    assert found == {"OF_BOTH": "process", "OF_FILE": "quoted # text", "EXPORTED": "x", "EMPTY": "", "NO_VALUE": None}


def test_nothing_is_written_into_the_environment_of_commands(dotenv: Path) -> None:
    dotenv.write_text("OF_FILE=x\n")
    environment.read_dotenv(dotenv)
    assert "OF_FILE" not in os.environ


def test_a_byte_order_mark_is_not_part_of_the_first_name(dotenv: Path) -> None:
    dotenv.write_text("FIRST=x\n", encoding="utf-8-sig")
    environment.read_dotenv(dotenv)
    assert environment.current().dotenv == {"FIRST": "x"}


def test_a_dollar_is_a_dollar(dotenv: Path) -> None:
    dotenv.write_text("OF_FILE=a${HOME}$b\n")
    environment.read_dotenv(dotenv)
    assert environment.get("OF_FILE") == "a${HOME}$b"


def test_reading_again_forgets_what_was_read(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv(dotenv)
    dotenv.write_text("TWO=2\n")
    environment.read_dotenv(dotenv)
    assert (environment.get("ONE"), environment.get("TWO")) == (None, "2")


def test_without_a_file_nothing_is_said(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv(dotenv)
    dotenv.unlink()
    environment.read_dotenv(dotenv)
    assert environment.get("ONE") is None


def test_none_is_read_where_there_is_no_configuration_file(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv(dotenv)
    environment.read_dotenv(None)
    assert environment.get("ONE") is None


def test_a_relative_path_begins_beside_the_configuration_file(tmp_path: Path) -> None:
    assert environment.beside(Path("x")) == Path("x")
    environment.current().folder = tmp_path / "other"
    found = [environment.beside(Path(text)) for text in ("x", "./y/x", "/x", "~/x", "~me/x")]
    assert found == [tmp_path / "other/x", tmp_path / "other/y/x", Path("/x"), Path("~/x"), Path("~me/x")]


def test_programs_do_not_see_what_is_for_us_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COUNTERSIGN_STORE_KEY", "countersign_server__listen", "LET_IN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "x")
    Environment(withheld=frozenset({"LET_IN", "NOT_SET"})).adopt()
    seen = environment.for_programs()
    assert seen["AWS_PROFILE"] == "x"
    assert not {"COUNTERSIGN_STORE_KEY", "countersign_server__listen", "LET_IN"} & seen.keys()
    assert environment.get("LET_IN") == "x"


def test_what_is_staged_holds_in_its_block_and_what_is_adopted_elsewhere(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LET_IN", "x")
    adopted = Environment({"NAME": "old"})
    adopted.adopt()
    staged = Environment(withheld=frozenset({"LET_IN"}))
    with staged.staged():
        dotenv.write_text("NAME=new\n")
        environment.read_dotenv(dotenv)
        assert (environment.get("NAME"), "LET_IN" in environment.for_programs()) == ("new", False)
    assert (environment.get("NAME"), "LET_IN" in environment.for_programs()) == ("old", True)
    staged.adopt()
    assert (environment.get("NAME"), "LET_IN" in environment.for_programs()) == ("new", False)


def test_its_values_are_not_shown() -> None:
    assert "c4n4ry" not in repr(Environment({"NAME": "c4n4ry"}))
