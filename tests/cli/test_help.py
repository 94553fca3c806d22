"""Help for those who write ``help``."""

from __future__ import annotations

import pytest

from .conftest import Run


def test_it_is_what_the_option_says(run: Run) -> None:
    assert run("help") == run("--help")
    assert "Commands:" in run("help").out


@pytest.mark.parametrize("name", ["run", "tokens", "health"])
def test_it_is_what_the_option_of_a_command_says(run: Run, name: str) -> None:
    assert run("help", name) == run(name, "--help")


def test_it_goes_down_to_commands_of_commands(run: Run) -> None:
    assert run("help", "tokens", "list") == run("tokens", "list", "--help")
    assert run("help", "run", "more") == run("run", "--help")


def test_there_is_no_help_for_what_there_is_not(run: Run) -> None:
    found = run("help", "rnu")
    assert found.code == 2
    assert "no such command; right would be run" in found.err
