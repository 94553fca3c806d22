"""Virtual environments of the benchmark's own, in ``.bench/`` of the checkout: made once, kept."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".bench"


class MissingError(Exception):
    """An environment can't be made; the text says why."""


def environment(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """Return the folder with the programs of an environment that has `requirements`.

    Raises:
        MissingError: one of them can't be had.

    """
    folder = CACHE / name
    done = folder / "requirements"
    wanted = "\n".join((python, *requirements))
    if not done.is_file() or done.read_text() != wanted:
        print(f"installing {' '.join(requirements)} into {folder} …", file=sys.stderr)
        _make(folder, python, requirements)
        done.write_text(wanted)
    return folder / "bin"


def _make(folder: Path, python: str, requirements: tuple[str, ...]) -> None:
    commands = (
        [python, "-m", "venv", "--clear", "--without-pip", str(folder)],
        [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", *requirements],
    )
    for command in commands:
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        except OSError as failure:
            raise MissingError(f"{command[0]}: {failure.strerror}") from None
        if done.returncode:
            raise MissingError(f"{folder.name}: {done.stdout.strip().rpartition(chr(10))[2]}")


def with_countersign(python: str) -> str:
    """Return an interpreter that has the checkout and what it needs: `python` itself, or one made of it.

    Raises:
        MissingError: it can't be made.

    """
    if python == sys.executable:
        return python
    name = "countersign-" + re.sub(r"\W+", "-", python).strip("-")
    return str(environment(name, "--editable", str(ROOT), python=python) / "python")
