from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import environment


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = dict(environment.variables.maps[1])
    yield
    environment.variables.maps[1].clear()
    environment.variables.maps[1].update(before)


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_what_the_file_says_stands_below_the_environment(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_BOTH", "process")
    dotenv.write_text("OF_BOTH=file\nOF_FILE='quoted # text'\nexport EXPORTED=x # comment\nEMPTY=\nNO_VALUE\n")
    environment.read_dotenv(dotenv)
    found = {name: environment.variables.get(name) for name in ("OF_BOTH", "OF_FILE", "EXPORTED", "EMPTY", "NO_VALUE")}
    assert found == {"OF_BOTH": "process", "OF_FILE": "quoted # text", "EXPORTED": "x", "EMPTY": "", "NO_VALUE": None}


def test_nothing_is_written_into_the_environment_of_commands(dotenv: Path) -> None:
    dotenv.write_text("OF_FILE=x\n")
    environment.read_dotenv(dotenv)
    assert "OF_FILE" not in os.environ


def test_a_byte_order_mark_is_not_part_of_the_first_name(dotenv: Path) -> None:
    dotenv.write_text("FIRST=x\n", encoding="utf-8-sig")
    environment.read_dotenv(dotenv)
    assert environment.variables.maps[1] == {"FIRST": "x"}


def test_a_dollar_is_a_dollar(dotenv: Path) -> None:
    dotenv.write_text("OF_FILE=a${HOME}$b\n")
    environment.read_dotenv(dotenv)
    assert environment.variables["OF_FILE"] == "a${HOME}$b"


def test_reading_again_forgets_what_was_read(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv(dotenv)
    dotenv.write_text("TWO=2\n")
    environment.read_dotenv(dotenv)
    assert ("ONE" in environment.variables, environment.variables["TWO"]) == (False, "2")


def test_without_a_file_nothing_is_said(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv(dotenv)
    dotenv.unlink()
    environment.read_dotenv()
    assert "ONE" not in environment.variables


def test_by_default_it_is_the_one_in_the_working_directory(dotenv: Path) -> None:
    dotenv.write_text("ONE=1\n")
    environment.read_dotenv()
    assert environment.variables["ONE"] == "1"


def test_programs_do_not_see_what_is_for_us_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COUNTERSIGN_STORE_KEY", "countersign_server__listen", "LET_IN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "x")
    environment.withhold(["LET_IN", "NOT_SET"])
    seen = environment.for_programs()
    assert seen["AWS_PROFILE"] == "x"
    assert not {"COUNTERSIGN_STORE_KEY", "countersign_server__listen", "LET_IN"} & seen.keys()
    assert environment.variables["LET_IN"] == "x"
