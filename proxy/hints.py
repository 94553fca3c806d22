"""Commands that messages name, such that they can be pasted: with the configuration file that is in use."""

from __future__ import annotations

import shlex
from pathlib import Path

_options: list[str] = []


def use(config: Path | None) -> None:
    """Have commands carry ``--config`` from now on, or not, if the file is one that they find."""
    _options[:] = [] if config is None else ["--config", str(config.absolute())]


def command(*words: str) -> str:
    """Return a command of ours, quoted for a shell."""
    return shlex.join(["countersign", *words, *_options])
