"""The environment as the configuration sees it."""

from __future__ import annotations

import os
from pathlib import Path

from proxy import environment


def test_dotenv_is_below_the_environment_and_never_written_into_it(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    path.write_text("HOME=elsewhere\nC4N4RY='$HOME x'\nNOTHING\n")
    environment.read_dotenv(path)
    try:
        assert environment.variables["HOME"] == os.environ["HOME"]
        assert environment.variables["C4N4RY"] == "$HOME x"
        assert "NOTHING" not in environment.variables
        assert "C4N4RY" not in os.environ
    finally:
        environment.read_dotenv(tmp_path / "missing")
    assert "C4N4RY" not in environment.variables
