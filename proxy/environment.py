"""The environment as the configuration sees it: the process's own, and below it the ``.env`` file.

Nothing is ever written into ``os.environ``: what a ``.env`` file says is for us, not for the commands that
we start.
"""

from __future__ import annotations

import os
from collections import ChainMap
from pathlib import Path

from dotenv import dotenv_values

variables: ChainMap[str, str] = ChainMap(os.environ, {})


def read_dotenv(path: Path = Path(".env")) -> None:
    """Take over what `path` says, in place of what an earlier call took; a missing file says nothing."""
    found = dotenv_values(path, interpolate=False) if path.is_file() else {}
    variables.maps[1].clear()
    variables.maps[1].update({name: value for name, value in found.items() if value is not None})
