"""The environment as the configuration sees it: the process's own, and below it the ``.env`` file.

Nothing is ever written into ``os.environ``: what a ``.env`` file says is for us, not for the programs that
we start. Nor is what is the proxy's own in the environment.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "COUNTERSIGN_"

variables: ChainMap[str, str] = ChainMap(os.environ, {})
_withheld: set[str] = set()


def withhold(names: Iterable[str]) -> None:
    """Keep variables from the programs that we start from now on."""
    _withheld.update(names)


def for_programs() -> dict[str, str]:
    """Return the environment of a program that we start: ours, without what is for us alone.

    Any other process of the user can read it, and what it passes it on to.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(PREFIX) and name not in _withheld
    }


def read_dotenv(path: Path = Path(".env")) -> None:
    """Take over what `path` says, in place of what an earlier call took; a missing file says nothing."""
    found = dotenv_values(path, interpolate=False, encoding="utf-8-sig") if path.is_file() else {}
    variables.maps[1].clear()
    variables.maps[1].update({name: value for name, value in found.items() if value is not None})
