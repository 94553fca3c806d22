"""Commands in messages."""

from __future__ import annotations

import shlex
from pathlib import Path

from proxy import hints


def test_a_file_that_is_found_needs_no_option() -> None:
    assert hints.command("login", "cal") == "countersign login cal"


def test_one_that_was_named_is_carried_along_and_quoted(tmp_path: Path) -> None:
    hints.use(tmp_path / "my file.toml")
    found = hints.command("login", "a b")
    assert shlex.split(found) == ["countersign", "login", "a b", "--config", str(tmp_path / "my file.toml")]
    hints.use(Path("c.toml"))
    assert hints.command("check") == f"countersign check --config {tmp_path}/c.toml"
    hints.use(None)
    assert hints.command("check") == "countersign check"
