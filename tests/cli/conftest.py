from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import cli
from tests.watching import watch

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a command in this process."""

    def called(*arguments: str) -> Ended:
        result = CliRunner().invoke(cli, list(arguments), prog_name="countersign")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return Ended(result.exit_code, result.stdout, result.stderr)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield called
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], str]:
    """Write a configuration and return its path."""

    def written(text: str) -> str:
        path = tmp_path / "c.toml"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return str(path)

    return written


class Started(subprocess.Popen[str]):
    """A command in a process of its own; what it says is searched for secrets, as far as the test reads it."""

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:  # noqa: A002
        out, err = super().communicate(input, timeout)
        watch.hear("a process", f"{out}\n{err}")
        return out, err


def process(*arguments: str, stdin: int = subprocess.DEVNULL, **variables: str) -> Started:
    """Start the command as users do."""
    return Started(
        [sys.executable, "-m", "proxy", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )


def line_with(stream: object, text: str) -> str:
    """The first line that holds `text`."""
    for line in stream:  # type: ignore[attr-defined]  # a text stream
        watch.hear("a process", line)
        if text in line:
            return str(line)
    raise AssertionError(f"no line with {text}")
